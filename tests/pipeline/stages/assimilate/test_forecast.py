"""Forecasts from analyses: what they start from, how they are cut and grown, their forcing, their skill."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from pydantic import ValidationError

from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, existing_array, open_dataset, open_store
from ldas.pipeline.store.groups import write_group
from tests.helpers.synthetic_store import make_store
from tests.pipeline.stages.assimilate.support import (
    DAY,
    ensemble_run,
    lai_run,
    run,
    small,
)

CELLS, DAYS = 2, 12
STATES, MEANS = ("WG2", "TG2", "LAI"), ("LE",)
AHEAD = {"name": "ahead", "from_run": "lai", "days": 3, "every": 3}
LATER = {"name": "later", "from_run": "lai", "days": 1, "start_on": ["2007-04-03"]}
ENSEMBLE = {"name": "few", "from_run": "ensemble", "days": 2, "start_on": ["2007-04-05"]}
LAI = lai_run(sekf={"controls": ["LAI", "WG2"]})
CUT = {"cells_per_block": 1, "days_per_period": 6}


def small_here(path: Path, *runs: dict[str, Any], end: int = DAYS, **sections: Any) -> ExperimentConfig:
    """An experiment from 1 April on, in one task."""
    one_task = {"cells_per_block": CELLS, "days_per_period": DAYS}
    defaults = {
        "period": {"start": "2007-04-01", "end": f"2007-04-{end:02d}"},
        "open_loop": {},
        "output": {"mean": MEANS, "instant": STATES},
        "execution": one_task,
    }
    return small(path, *runs, **{**defaults, **sections})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with land, forcing and observations of two cells."""
    path = tmp_path_factory.mktemp("inputs") / "store"
    make_store(path, cells=CELLS, days=DAYS)
    return path


@pytest.fixture
def store(inputs: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(inputs, tmp_path / "store"))


@pytest.fixture(scope="module")
def whole(inputs: Path, threads: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in one go, with forecasts."""
    path = Path(shutil.copytree(inputs, tmp_path_factory.mktemp("whole") / "store"))
    assert run(small_here(path, LAI, forecasts=[AHEAD, LATER]), threads).complete
    return path


def forecasts(path: Path, name: str = "ahead") -> xr.Dataset:
    with open_dataset(str(path), f"forecasts/{name}") as found:
        return found.load()


def at(path: Path, name: str, instants: np.ndarray, variable: str) -> np.ndarray:
    """A variable of a run at instants; of the forecast there, where an analysis changes it."""
    with open_dataset(str(path), f"runs/{name}") as found:
        stored = f"{variable}_forecast" if f"{variable}_forecast" in found else variable
        place = np.searchsorted(found["instant_time"].values, instants)
        np.testing.assert_array_equal(found["instant_time"].values[place], instants)
        return np.asarray(found[stored].values[place])


def test_without_increments_they_are_the_open_loop_and_the_first_day_is_the_filters(
    store: Path, threads: Client
) -> None:
    """At 00 UTC means too, as windows are days there. The ensemble has analysed leaf area before the second day."""
    few = ensemble_run(end="2007-04-08", ensrf={"members": 2})
    config = small_here(
        store,
        lai_run(assimilate=False),
        few,
        forecasts=[{**AHEAD, "days": 4, "every": 4}, ENSEMBLE],
        model={"analysis_hour_utc": 0},
    )
    assert run(config, threads).complete
    found = forecasts(store)
    assert dict(found.sizes) == {"reference_time": 2, "lead_day": 4, "cell": CELLS}
    assert [str(time)[:13] for time in found["reference_time"].values] == ["2007-04-02T00", "2007-04-06T00"]
    valid = found["reference_time"].values[:, None] + np.arange(1, 5) * DAY
    np.testing.assert_array_equal(found["valid_time"].values, valid)
    for variable in (*STATES, *MEANS):
        np.testing.assert_array_equal(found[variable].values, at(store, "open_loop", valid, variable), variable)
    assert_first_day_is_the_filters(store, "few", "ensemble")


def assert_first_day_is_the_filters(path: Path, name: str, run_name: str) -> None:
    """The first day is the forecast of the next window; the second one is not, where that window had an analysis."""
    found, same = forecasts(path, name), set()
    for variable in (*STATES, *MEANS):
        for lead in (0, 1):
            expected = at(path, run_name, found["valid_time"].values[:, lead], variable)
            if np.array_equal(found[variable].values[:, lead], expected):
                same.add((variable, lead))
    assert same == {(variable, 0) for variable in (*STATES, *MEANS)}


def test_any_blocks_and_periods_and_a_later_end_give_the_same_bytes(store: Path, whole: Path, threads: Client) -> None:
    """With forecasts asked for after the assimilation: what it did not keep is made again, to the same bytes."""
    assert_first_day_is_the_filters(whole, "ahead", "lai")
    assert run(small_here(store, LAI, end=8, forecasts=[AHEAD], execution=CUT), threads).complete
    assert run(small_here(store, LAI, forecasts=[AHEAD, LATER], execution=CUT), threads).complete
    found, expected = array_hashes(str(store)), array_hashes(str(whole))
    common = {
        name for name in found.keys() & expected.keys() if name.startswith(("forecasts/", "runs/", "restarts/lai"))
    }
    assert {name: found[name] for name in common} == {name: expected[name] for name in common}
    counts = {group: sum(name.startswith(group) for name in common) for group in ("forecasts/", "runs/", "restarts/")}
    assert counts["forecasts/"] == 2 * (len(STATES) + len(MEANS) + 6)
    assert counts["runs/"] > 25
    assert counts["restarts/"] > 3 * 15
    assert (ledger.statuses(open_store(str(store)), "ahead") == ledger.DONE).all()


def test_a_forcing_of_their_own(store: Path, whole: Path, threads: Client) -> None:
    """One group a start. A copy of the open loop's gives the same; a drier one a drier soil; none at all is said."""
    shutil.rmtree(store)
    shutil.copytree(whole, store)
    root = open_store(str(store), "a")
    with open_dataset(str(store), "forcing") as weather:
        part = weather.load().drop_vars("cell", errors="ignore")
    for start, dry in (("20070405T09", False), ("20070408T09", True)):
        first = np.datetime64(f"2007-04-{start[6:8]}T09")
        its_own = part.sel(time=slice(first - np.timedelta64(9, "h"), first + 3 * DAY))
        if dry:
            its_own["Rainf"] = 0.0 * its_own["Rainf"]
        write_group(root, f"forecast_forcing/maker/{start}", its_own)
    own = {"name": "own", "from_run": "lai", "days": 3, "start_on": ["2007-04-05", "2007-04-08"], "forcing": "maker"}
    config = small_here(store, LAI, forecasts=[AHEAD, own])
    assert {row.state for row in check_experiment(config) if row.what.startswith("forecasts")} == {"ok"}
    assert run(config, threads).complete
    found, usual = forecasts(store, "own"), forecasts(store)
    for variable in (*STATES, *MEANS):
        np.testing.assert_array_equal(found[variable].values[0], usual[variable].values[1], variable)
    assert (found["WG2"].values[1, -1] < usual["WG2"].values[2, -1]).all()
    more = small_here(store, LAI, forecasts=[{**own, "name": "more", "start_on": ["2007-04-05", "2007-04-11"]}])
    (row,) = [row for row in check_experiment(more, values=False) if row.what == "forecasts more"]
    assert row.state == "missing"
    assert "forecast_forcing/maker/20070411T09 (needed: 2007-04-11T09:00:00 to 2007-04-14T09:00:00)" in row.detail
    assert "20070411T09" in run(more, threads).failures[0]


def test_cells_set_aside_and_gaps_of_the_forcing(store: Path, threads: Client) -> None:
    """No forecast of a cell that the assimilation had lost by the start, or with a gap in the days ahead."""
    existing_array(open_store(str(store), "a"), "forcing", "Tair")[24 * 7 : 24 * 7 + 2, 1] = np.nan
    ahead = {**AHEAD, "days": 2, "every": None, "start_on": ["2007-04-04", "2007-04-06", "2007-04-10"]}
    execution = {"cells_per_block": CELLS, "days_per_period": 6}
    assert run(small_here(store, LAI, forecasts=[ahead], execution=execution), threads).cells_set_aside == 1
    there = np.isfinite(forecasts(store)["LAI"].values)
    assert there[:, :, 0].all()
    np.testing.assert_array_equal(there[:, :, 1], [[True, True], [False, False], [False, False]])
    assert ledger.statuses(open_store(str(store)), "ahead")[-1].tolist() == [ledger.DONE, ledger.SET_ASIDE]


def test_a_cycle_of_the_first_days_has_no_forecast_yet(inputs: Path) -> None:
    """One that ends before the first forecast does."""
    config = small_here(inputs, LAI, forecasts=[AHEAD])
    early = config.model_copy(update={"period": config.period.model_copy(update={"end": date(2007, 4, 4)})})
    assert [stage.name for stage in build_stages(early)] == ["open_loop", "lai"]
    assert [stage.name for stage in build_stages(config)] == ["open_loop", "lai", "ahead"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"every": None}, "say `every` .days. or `start_on`"),
        ({"start_on": ["2007-04-05"]}, "say `every` .days. or `start_on`"),
        ({"every": None, "start_on": ["2007-04-05", "2007-04-02"]}, "in their order"),
        ({"every": None, "start_on": ["2007-04-01"]}, "0 of 1 forecasts can be made"),
        ({"every": None, "start_on": ["2007-04-10"]}, "0 of 1 forecasts can be made"),
        ({"days": 12}, r"the analyses of lai \(2007-04-02 to 2007-04-12\) and, .* end by 2007-04-12"),
        ({"from_run": "swi"}, "no assimilation swi; there are: lai"),
        ({"name": "lai"}, "distinct names"),
    ],
)
def test_what_cannot_be_meant_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        small_here(Path("store"), LAI, forecasts=[{**AHEAD, **changed}])
