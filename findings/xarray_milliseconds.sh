#!/bin/sh
# xarray 2026.9.0 writes every time as NaT, without a word, where times of second resolution (datetime64[s]) are encoded
# in "milliseconds since ..." as int64: the file holds -9223372036854775808 only. The same times with nanosecond
# resolution are written right. So a user's own file of observations may reach ldas without a single time; it is
# refused then ("times are undefined").
#
# Behaviour seen: s: all times missing; ns: the times as given. Exits 1 when that has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet "xarray==2026.9.0" "netCDF4==1.7.5.1.post1" "numpy==2.4.6"
cd "$folder"
environment/bin/python - <<'SCRIPT'
import sys

import numpy as np
import xarray as xr

stored = {}
for unit in ("s", "ns"):
    time = np.array(["2007-04-01T08:30", "2007-04-02"], dtype=f"datetime64[{unit}]")
    encoding = {"time": {"units": "milliseconds since 1970-01-01", "dtype": "int64"}}
    xr.Dataset({"x": ("time", [1.0, 2.0])}, {"time": time}).to_netcdf(f"{unit}.nc", encoding=encoding)
    with xr.open_dataset(f"{unit}.nc", decode_times=False) as opened:
        stored[unit] = opened["time"].values.tolist()
    print("xarray", xr.__version__, f"datetime64[{unit}]:", stored[unit])
missing = [np.iinfo("int64").min] * 2
sys.exit(0 if stored == {"s": missing, "ns": [1175416200000, 1175472000000]} else 1)
SCRIPT
