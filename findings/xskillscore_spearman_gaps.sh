#!/usr/bin/env bash
# xskillscore 0.0.29: `spearman_r`, `spearman_r_p_value` and `spearman_r_eff_p_value` return NaN for a series with a single
# missing value although `skipna=True` is given. `pearson_r` and the other scores skip it as documented.
# Expected: the correlation of the pairs that are there, as after dropping the missing pair.
# Seen: spearman_r: nan with skipna=True, 0.5069 after dropping the pair
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet xskillscore==0.0.29 xarray==2026.9.0 numpy==2.4.6 scipy==1.17.1
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import xarray as xr
import xskillscore

print(", ".join(f"{name} {version(name)}" for name in ("xskillscore", "xarray", "numpy", "scipy")))
draw = np.random.default_rng(0)
model = xr.DataArray(draw.normal(size=30), dims="time")
observed = model + draw.normal(size=30)
observed[4] = np.nan
there = observed.notnull()
changed = False
for name in ("pearson_r", "spearman_r", "spearman_r_p_value", "spearman_r_eff_p_value"):
    score = getattr(xskillscore, name)
    gap = score(model, observed, "time", skipna=True).item()
    dropped = score(model[there.values], observed[there.values], "time").item()
    print(f"{name}: {gap:.4f} with skipna=True, {dropped:.4f} after dropping the pair")
    changed |= np.isnan(gap) != name.startswith("spearman")
raise SystemExit(int(changed))
PYTHON
