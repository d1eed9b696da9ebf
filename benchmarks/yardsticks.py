"""Runs and readers against real measurements, and two other land models beside ours: the figures of docs/evaluation.md.

DATA is a folder with `site_flux`, `insitu` and `ldas` as docs/evaluation.md names their files, REFERENCE one with the
reference runs of the land model (`cases.json`), STORE the finished run of `examples/puechabon.yaml`. A table whose
input is not given is left out.
"""

import argparse
import json
import tempfile
from pathlib import Path

import pandas as pd
import xarray as xr

from ldas.pipeline.evaluation import metrics, other_models
from ldas.pipeline.evaluation.evaluate import evaluate
from ldas.pipeline.evaluation.tables import station_table
from ldas.pipeline.ingest import ismn
from ldas.pipeline.settings.experiment import StoreConfig
from ldas.pipeline.site.case import load_case
from ldas.pipeline.site.reference_cases import read_cases
from ldas.pipeline.site.run import run_case

CHAMPAIGN = """\
name: Champaign 1998
latitude: 40.01
longitude: -88.37
clay: 0.25
sand: 0.10
vegetation: C3
start: 1998-01-01T07:00
days: 364
initial_state:
  WG: 0.33
forcing:
  file: forcing.nc
  temperature_height_m: 3
  wind_height_m: 6
  co2_kg_m3: 6.6e-4
  snowfall: below_freezing
output:
  interval: half-hourly
  variables: [RN, LE, H, GFLUX]
"""


def run_of_champaign(source: Path, folder: Path) -> xr.Dataset:
    """A crop of generic parameters, half-hourly; nothing is calibrated. folder: for its files."""
    (folder / "case.yaml").write_text(CHAMPAIGN, encoding="utf-8")
    other_models.champaign_forcing(source).to_netcdf(folder / "forcing.nc")
    return _whole_seconds(run_case(load_case(folder / "case.yaml")))


def champaign(source: Path, run: xr.Dataset) -> pd.DataFrame:
    """The run against the half-hourly radiation and fluxes."""
    measured = other_models.read_champaign(source)
    return other_models.pair_table({name: (run[name], measured[name]) for name in ("RN", "LE", "H", "GFLUX")})


def col_de_porte(source: Path, reference: Path) -> pd.DataFrame:
    """Our run of the reference case of grass under snow against the depth sensor and the snow pits."""
    measured = other_models.read_col_de_porte(source)
    case = next(case for case in read_cases(reference) if case.site.name == "cdp_gras_snow").site
    output = case.output.model_copy(update={"variables": ("SWE", "SNOW_DEPTH")})
    run = _whole_seconds(xr.decode_cf(run_case(case.model_copy(update={"output": output}))))
    return other_models.pair_table({name: (run[name], measured[name]) for name in ("SNOW_DEPTH", "SWE")})


def fraye(folder: Path, table: Path) -> xr.Dataset:
    """A plumbing check, no result: station (Landes forest) and model series (another cell) are 159 km apart."""
    config = ismn.IsmnConfig(store=StoreConfig(url="unused.zarr"), files=("*.stm",))
    station = ismn.read([next(folder.glob("*.stm"))], config)
    with xr.open_dataset(table) as opened:
        model = opened["WG2"].load().groupby(opened["time"].dt.floor("D")).mean().rename(floor="time")
    return metrics.scores(model, station["soil_moisture"].isel(station=0))


def puechabon(store: Path, climatology: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of the example's runs against the tower, and their mean year beside that of ecLand and JULES."""
    with tempfile.TemporaryDirectory(prefix="ldas-yardsticks-") as spare:
        scores = evaluate(store, scores=Path(spare) / "scores.zarr")
        ours, observed = other_models.monthly_means(scores, "FR-Pue")
        table = station_table(scores)
    return table, other_models.yardstick_table(other_models.read_climatology(climatology, "FR-Pue"), ours, observed)


def _whole_seconds(run: xr.Dataset) -> xr.Dataset:
    """Times without the rounding of their fractions, so that they meet those of the measurements."""
    return run.assign_coords(time=run["time"].values.astype("datetime64[s]").astype("datetime64[ns]"))


def _four_digits(value: float) -> str:
    return f"{value:.4g}"


def main() -> None:
    """Prints the tables; `--json FILE` writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--reference", type=Path, metavar="REFERENCE")
    parser.add_argument("--puechabon", type=Path, metavar="STORE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables as JSON too")
    arguments = parser.parse_args()
    sites = arguments.data / "site_flux"
    tables = {}
    if arguments.puechabon is not None:
        climatology = sites / "plumber2_monthly_climatology_europe.csv"
        scores, beside = puechabon(arguments.puechabon, climatology)
        tables["Puechabon, runs against the tower"] = scores
        tables["Puechabon, twelve monthly means beside two other land models, W m-2"] = beside
    source = sites / "US-Champaign_1998_halfhourly_forcing_fluxes.nc"
    with tempfile.TemporaryDirectory(prefix="ldas-yardsticks-") as folder:
        tables["Champaign 1998, half-hourly"] = champaign(source, run_of_champaign(source, Path(folder)))
    if arguments.reference is not None:
        daily = sites / "CDP_1996-1997_daily_obs.nc"
        tables["Col de Porte 1996-97, daily"] = col_de_porte(daily, arguments.reference)
    found = fraye(
        arguments.data / "insitu/ceop_sep/FR_Aqui/fraye",
        arguments.data / "ldas/isba_ascat_43.625N_0.875E_2007-2016.nc",
    )
    row = {name: float(found[name]) for name in ("n", "bias", "rmsd", "r")}
    tables["Fraye against another cell: a check of the plumbing, no result"] = pd.DataFrame([row])
    for title, table in tables.items():
        print(f"{title}\n{table.to_string(index=False, float_format=_four_digits)}\n")
    if arguments.json is not None:
        content = {title: json.loads(table.to_json(orient="records")) for title, table in tables.items()}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
