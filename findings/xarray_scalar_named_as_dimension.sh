#!/usr/bin/env bash
# xarray 2026.9.0: a NetCDF file in which `lat` is both a dimension and a variable without dimensions cannot be opened, not
# even without its coordinates decoded. Seen: ValueError: dimension 'lat' already exists as a scalar variable
# The template of model output of a calibration exercise of land models (CalLMIP, one site a file) is such a file. The
# NetCDF library reads it. Way on: `drop_variables=["lat", "lon"]`, and the place from elsewhere.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet xarray==2026.9.0 netCDF4==1.7.5.1.post1 numpy==2.4.6
cd "$folder"
env/bin/python - <<'PYTHON'
from importlib.metadata import version

import netCDF4
import xarray as xr

print(", ".join(f"{name} {version(name)}" for name in ("xarray", "netCDF4", "numpy")))
with netCDF4.Dataset("site.nc", "w") as file:
    file.createDimension("time", 2)
    file.createDimension("lat", 1)
    file.createVariable("lat", "f8", ())[...] = 55.486
    file.createVariable("Qle", "f4", ("time", "lat"))[:] = [[40.0], [45.0]]
with netCDF4.Dataset("site.nc") as file:
    print("NetCDF library: lat", float(file["lat"][...]), "Qle", file["Qle"][:, 0].tolist())
refused = 0
for options in ({}, {"decode_coords": False}, {"decode_cf": False}):
    try:
        xr.open_dataset("site.nc", **options)
        print("xarray", options, "opens it")
    except ValueError as error:
        refused += "already exists as a scalar variable" in str(error)
        print("xarray", options, "ValueError:", error)
rest = xr.open_dataset("site.nc", drop_variables=["lat"])["Qle"][:, 0].values.tolist()
print("xarray without lat: Qle", rest)
raise SystemExit(int(refused != 3 or rest != [40.0, 45.0]))
PYTHON
