"""Runs and readers against real measurements; each test needs files of the shared folder."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.config import StoreConfig
from pipeline.evaluation import metrics, yardstick
from pipeline.evaluation.errors import EvaluationError
from pipeline.ingest import ismn
from pipeline.reference_cases import read_cases
from pipeline.site import run_case
from pipeline.site_case import load_case
from tests.support import shared

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
  snowfall: {snowfall}
output:
  interval: half-hourly
  variables: [RN, LE, H, GFLUX]
"""


def test_the_yardstick_of_puechabon() -> None:
    climatology = yardstick.read_climatology(shared("data/site_flux/plumber2_monthly_climatology_europe.csv"), "FR-Pue")
    observed = {flux: climatology.loc[name]["obs"].to_numpy() for name, flux in yardstick.FLUXES.items()}
    ours = {"twice the observed": {flux: 2.0 * values for flux, values in observed.items()}}
    table = yardstick.yardstick_table(climatology, ours, observed).set_index(["flux", "model"])
    assert table.loc[("LE", "ecland"), "bias"] == pytest.approx((705.659 - 371.595) / 12)  # sums of the table
    assert table.loc[("LE", "jules"), "R"] > 0.8
    assert table.loc[("LE", "twice the observed"), "bias"] == pytest.approx(float(observed["LE"].mean()))
    assert table.loc[("H", "twice the observed"), "R"] == pytest.approx(1.0)
    assert (table["months"] == 12).all()


def test_an_unknown_site_and_another_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="FR-Pue"):
        yardstick.read_climatology(shared("data/site_flux/plumber2_monthly_climatology_europe.csv"), "FR-Xyz")
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match="columns"):
        yardstick.read_climatology(other, "FR-Pue")


def test_snow_of_col_de_porte() -> None:
    """Our run of the reference case against the pits and the depth sensor."""
    measured = yardstick.read_col_de_porte(shared("data/site_flux/CDP_1996-1997_daily_obs.nc"))
    case = next(c for c in read_cases(shared("reference/surfex")) if c.site.name == "cdp_gras_snow").site
    output = case.output.model_copy(update={"variables": ("SWE", "SNOW_DEPTH")})
    run = run_case(case.model_copy(update={"output": output}))
    labelled = xr.decode_cf(run).assign_coords(time=run["time"].values.astype("datetime64[s]").astype("datetime64[ns]"))
    pairs = {name: (labelled[name], measured[name]) for name in ("SNOW_DEPTH", "SWE")}
    table = yardstick.pair_table(pairs).set_index("what")
    print(table)
    assert table.loc["SWE", "N"] == 19
    assert table.loc["SNOW_DEPTH", "N"] > 200
    assert table.loc["SNOW_DEPTH", "R"] > 0.9
    assert abs(table.loc["SWE", "bias"]) < 100.0


def test_fluxes_of_champaign(tmp_path: Path) -> None:
    """A crop of generic parameters against the half-hourly fluxes: levels and the daily cycle, not a calibrated run."""
    source = shared("data/site_flux/US-Champaign_1998_halfhourly_forcing_fluxes.nc")
    forcing = yardstick.champaign_forcing(source)
    (tmp_path / "case.yaml").write_text(CHAMPAIGN.format(snowfall="below_freezing"), encoding="utf-8")
    forcing.to_netcdf(tmp_path / "forcing.nc")
    run = run_case(load_case(tmp_path / "case.yaml"))
    time = run["time"].values.astype("datetime64[s]").astype("datetime64[ns]")
    modelled = run[["RN", "LE", "H", "GFLUX"]].assign_coords(time=time)
    measured = yardstick.read_champaign(source)
    pairs = {name: (modelled[name], measured[name]) for name in ("RN", "LE", "H", "GFLUX")}
    table = yardstick.pair_table(pairs).set_index("what")
    print(table)
    assert table.loc["RN", "R"] > 0.97
    assert table.loc["LE", "R"] > 0.85
    cycle = yardstick.mean_daily_cycle(modelled["LE"])
    assert 16 * 2 <= int(np.argmax(cycle)) <= 21 * 2  # noon there is 18 UTC


def test_fraye_soil_moisture_reaches_the_scores() -> None:
    """A plumbing check, no result: the station (Landes forest) and the model series (another cell) are 110 km apart."""
    folder = shared("data/insitu/ceop_sep/FR_Aqui/fraye")
    config = ismn.IsmnConfig(store=StoreConfig(url="unused.zarr"), files=("*.stm",))
    station = ismn.read([next(folder.glob("*.stm"))], config)
    with xr.open_dataset(shared("data/ldas/isba_ascat_44.375N_0.625E_2007-2016.nc")) as table:
        overpasses = table["WG2"].load()
    model = overpasses.groupby("time").mean()
    found = metrics.scores(model, station["soil_moisture"].isel(station=0))
    assert int(found["n"]) > 200
    assert 0.3 < float(found["r"]) < 1.0
    assert str(station["code"].values[0]) == "fraye"
