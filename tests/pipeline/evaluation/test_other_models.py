"""Runs and readers against real measurements; each test needs files of the shared folder."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ldas.pipeline.evaluation import other_models
from ldas.pipeline.evaluation.errors import EvaluationError
from tests.support import REPOSITORY, shared


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """benchmarks/yardsticks.py as a module: it makes the runs that the tests look at and docs/evaluation.md quotes."""
    spec = importlib.util.spec_from_file_location("yardsticks", REPOSITORY / "benchmarks" / "yardsticks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_yardstick_of_puechabon() -> None:
    climatology = other_models.read_climatology(
        shared("data/site_flux/plumber2_monthly_climatology_europe.csv"), "FR-Pue"
    )
    observed = {flux: climatology.loc[name]["obs"].to_numpy() for name, flux in other_models.FLUXES.items()}
    ours = {"twice the observed": {flux: 2.0 * values for flux, values in observed.items()}}
    table = other_models.yardstick_table(climatology, ours, observed).set_index(["flux", "model"])
    assert table.loc[("LE", "ecland"), "bias"] == pytest.approx((705.659 - 371.595) / 12)  # sums of the table
    assert table.loc[("LE", "jules"), "R"] > 0.8
    assert table.loc[("LE", "twice the observed"), "bias"] == pytest.approx(float(observed["LE"].mean()))
    assert table.loc[("H", "twice the observed"), "R"] == pytest.approx(1.0)
    assert (table["months"] == 12).all()


def test_an_unknown_site_and_another_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="FR-Pue"):
        other_models.read_climatology(shared("data/site_flux/plumber2_monthly_climatology_europe.csv"), "FR-Xyz")
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match="columns"):
        other_models.read_climatology(other, "FR-Pue")


def test_snow_of_col_de_porte(benchmark: ModuleType) -> None:
    """Our run of the reference case against the pits and the depth sensor."""
    daily = shared("data/site_flux/CDP_1996-1997_daily_obs.nc")
    table = benchmark.col_de_porte(daily, shared("reference/surfex")).set_index("what")
    assert table.loc["SWE", "N"] == 19
    assert table.loc["SNOW_DEPTH", "N"] > 200
    assert table.loc["SNOW_DEPTH", "R"] > 0.9
    assert abs(table.loc["SWE", "bias"]) < 100.0


def test_fluxes_of_champaign(benchmark: ModuleType, tmp_path: Path) -> None:
    """A crop of generic parameters against the half-hourly fluxes: levels and the daily cycle, not a calibrated run."""
    source = shared("data/site_flux/US-Champaign_1998_halfhourly_forcing_fluxes.nc")
    run = benchmark.run_of_champaign(source, tmp_path)
    table = benchmark.champaign(source, run).set_index("what")
    assert table.loc["RN", "R"] > 0.97
    assert table.loc["LE", "R"] > 0.85
    cycle = other_models.mean_daily_cycle(run["LE"])
    assert 16 * 2 <= int(np.argmax(cycle)) <= 21 * 2  # noon there is 18 UTC


def test_fraye_soil_moisture_reaches_the_scores(benchmark: ModuleType) -> None:
    """A plumbing check, no result: the station (Landes forest) and the model series (another cell) are 159 km apart."""
    folder = shared("data/insitu/ceop_sep/FR_Aqui/fraye")
    found = benchmark.fraye(folder, shared("data/ldas/isba_ascat_43.625N_0.875E_2007-2016.nc"))
    assert int(found["n"]) > 200
    assert 0.3 < float(found["r"]) < 1.0
