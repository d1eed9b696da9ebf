#!/bin/sh
# Tells OpenBench 3 of the truth of a twin, exported by month to ./export, as a reference `ldas_truth`.
set -eu
prefix=truth_month_
openbench ref register ldas_truth --root-dir "$PWD/export/truth" --data-type grid --tim-res Month --grid-res 0.25 \
  --years 2015 2018 --category Land \
  -v "Latent_Heat:hfls:W m-2:$prefix" -v "Sensible_Heat:hfss:W m-2:$prefix" \
  -v "Evapotranspiration:evspsbl:kg m-2 s-1:$prefix" -v "Gross_Primary_Productivity:gpp:kg c m-2 s-1:$prefix" \
  -v "Leaf_Area_Index:lai:unitless:$prefix" -v "Total_Runoff:mrro:kg m-2 s-1:$prefix"
