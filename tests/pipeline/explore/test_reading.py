"""What `ldas explore` reads of a store: maps, series, profiles, and what is said of what is not there."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ldas.assim.quality import QUALITY_MEANING, Quality
from ldas.landmodel.soil_properties import LAYER_BOTTOMS
from ldas.pipeline.errors import StoreError
from ldas.pipeline.explore.choice import Choice, comparable, settle
from ldas.pipeline.explore.content import Content
from ldas.pipeline.explore.maps import cell_at_click, map_of
from ldas.pipeline.explore.series import profile_at, quantity_of, series_at
from ldas.pipeline.explore.taken import map_dataset, map_table, series_dataset, series_table
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.layout import Grid, layout
from ldas.pipeline.store.ledger import Block
from tests.pipeline.explore.conftest import CELLS, DAY, DAYS, FIRST, HOUR

NUMBER = np.arange(CELLS)


def chosen(content: Content, **wanted: str) -> Choice:
    """A choice without complaint."""
    choice, problems = settle(content, wanted)
    assert problems == []
    return choice


def test_a_store_is_looked_up_without_reading_it(content: Content) -> None:
    assert list(content.sources) == ["runs/open_loop", "runs/EKF", "forecasts/three", "observations/lai"]
    assert [run.is_free for run in content.runs] == [True, False]
    assert content.land == ("clay", "latitude", "longitude")
    assert content.score_groups == ("lai_observations",)
    assert content.scores("lai_observations").measures == ("rmsd", "n")
    assert content.synthetic
    assert [(station.code, station.cell) for station in content.stations] == [("network 0", 1)]


def test_at_first_a_run_with_observations_on_its_last_day_is_shown(content: Content) -> None:
    choice = chosen(content)
    assert choice.query() == {
        "show": "day", "experiment": "runs/EKF", "variable": "LAI", "day": "2007-06-10", "cell": "1"
    }  # fmt: skip
    assert settle(content, choice.query()) == (choice, [])  # what a link says is what it shows


def test_the_map_of_a_day_and_of_a_difference(content: Content) -> None:
    shown = map_of(content, chosen(content, experiment="runs/EKF", variable="LAI", day="2007-06-04"))
    np.testing.assert_allclose(shown.values, 1003.0 + 0.1 * NUMBER, rtol=1e-6)
    assert (shown.title, shown.unit, shown.signed) == ("LAI of EKF, 2007-06-04", "m2 m-2", False)
    choice = chosen(content, experiment="runs/EKF", minus="runs/open_loop", variable="WG2", day="2007-06-04")
    shown = map_of(content, choice)
    np.testing.assert_allclose(shown.values, np.full(CELLS, 1000.0), rtol=1e-6)
    assert shown.signed
    assert shown.title == "WG2 of EKF minus open_loop, 2007-06-04"


def test_the_map_of_a_forecast_is_of_its_start_and_lead_day(content: Content) -> None:
    choice = chosen(content, experiment="forecasts/three", day="2007-06-05", lead="2")
    assert choice.day == np.datetime64("2007-06-02")  # the last start before
    np.testing.assert_allclose(map_of(content, choice).values, 2.0 + 0.1 * NUMBER, rtol=1e-6)
    line = next(line for line in series_at(content, choice).lines if line.label == "three from 2007-06-02")
    np.testing.assert_allclose(line.values, [1.1, 2.1, 3.1], rtol=1e-6)
    assert str(line.days[0]) == "2007-06-03"


def test_maps_of_scores_and_of_land(content: Content) -> None:
    choice = chosen(content, show="score", measure="rmsd", series="EKF", less="open_loop")
    shown = map_of(content, choice)
    np.testing.assert_allclose(shown.values, np.full(CELLS, -0.5))
    assert shown.signed
    assert shown.long_name == "RMSD of LAI against observations/lai/value; blue: better"
    assert quantity_of(content, choice) == "LAI"
    shown = map_of(content, chosen(content, show="land", land="clay"))
    np.testing.assert_allclose(shown.values, 0.1 * NUMBER)


def test_the_series_of_a_cell(content: Content) -> None:
    series = series_at(content, chosen(content, cell="3"))
    assert (series.quantity, series.unit, series.latitude, series.longitude) == ("LAI", "m2 m-2", 43.5, 1.0)
    lines = {line.label: line for line in series.lines}
    assert list(lines) == ["open_loop", "EKF", "EKF forecast"]
    np.testing.assert_allclose(lines["EKF forecast"].values, 1000.55 + np.arange(DAYS), rtol=1e-6)
    assert lines["EKF"].times[0] == FIRST + 9 * HOUR
    (increments,) = series.increments
    np.testing.assert_allclose(increments.values, 0.05 + np.arange(DAYS), rtol=1e-5)
    (innovations,) = series.innovations
    assert innovations.times.tolist() == [(FIRST + day * DAY + 9 * HOUR).item() for day in (2, 5)]
    np.testing.assert_array_equal(innovations.values, [0.5, 0.5])
    assert innovations.codes.tolist() == [Quality.USED, Quality.REJECTED_INNOVATION]


def test_observations_have_the_code_of_their_producer_else_that_of_the_run(content: Content) -> None:
    (observed,) = series_at(content, chosen(content, cell="3")).observed
    np.testing.assert_array_equal(observed.values, [10.0, 10.0, 10.0])  # the fourth is missing
    assert observed.times[0] == FIRST + 2 * DAY + 8 * HOUR
    assert observed.codes.tolist() == [Quality.USED, Quality.REJECTED_INNOVATION, Quality.MASKED_PRODUCT_FLAG]
    assert observed.meanings[1] == QUALITY_MEANING[Quality.REJECTED_INNOVATION]


def test_the_station_in_a_cell_is_drawn_with_soil_moisture(content: Content) -> None:
    series = series_at(content, chosen(content, variable="WG2", cell="1"))
    line = series.lines[-1]
    assert line.label == "station network 0"
    np.testing.assert_allclose(line.values, np.linspace(0.1, 0.3, DAYS), rtol=1e-6)
    assert series_at(content, chosen(content, variable="WG2", cell="2")).lines[-1].label == "EKF"


def test_means_are_drawn_in_the_middle_of_what_they_are_taken_over(content: Content) -> None:
    series = series_at(content, chosen(content, variable="LE"))
    assert [(line.label, line.hour) for line in series.lines] == [("open_loop", 12.0), ("EKF", -3.0)]


def test_the_soil_profile(content: Content) -> None:
    profile = profile_at(content, chosen(content, variable="WG2", day="2007-06-03", cell="2"))
    assert profile is not None
    np.testing.assert_allclose(profile.depths, [LAYER_BOTTOMS[0] / 2, LAYER_BOTTOMS[:2].mean()])
    np.testing.assert_allclose(profile.values["open_loop"], [102.2, 202.2], rtol=1e-6)
    np.testing.assert_allclose(profile.values["EKF"], [1102.2, 1202.2], rtol=1e-6)
    assert profile_at(content, replace(chosen(content), variable="TG1")) is None


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"variable": "WG9"}, "variable 'WG9' is not stored in runs/EKF; there are: LAI, LAI_forecast, LE, WG1, WG2,"),
        ({"experiment": "runs/no"}, "experiment 'runs/no' is not stored in the store; there are: runs/open_loop,"),
        ({"minus": "observations/lai"}, "minus 'observations/lai' is not stored"),
        ({"cell": "6"}, "cell '6': expected a whole number from 0 to 5"),
        ({"cell": "-1"}, "cell '-1': expected a whole number from 0 to 5"),
        ({"day": "soon"}, "day 'soon' is no date: expected one such as 2007-06-01"),
        ({"day": "1999-01-01"}, "day 1999-01-01 is not stored in runs/EKF, which has 2007-06-01 to 2007-06-10"),
        ({"show": "score", "measure": "r"}, "measure 'r' is not stored in lai_observations; there are: rmsd, n"),
        ({"show": "all"}, "show 'all' is not stored in the store; there are: day, score, land"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)  # fmt: skip
def test_what_is_not_there_is_said_once_and_something_else_is_shown(
    content: Content, wanted: dict[str, str], problem: str
) -> None:
    choice, problems = settle(content, wanted)
    assert len(problems) == 1
    assert problems[0].startswith(problem)
    assert np.isfinite(map_of(content, choice).values).any()


def test_only_alike_sources_are_compared(content: Content) -> None:
    assert comparable(content, "runs/EKF", "LAI") == ["runs/open_loop"]
    assert comparable(content, "runs/EKF", "increment_LAI") == []
    assert comparable(content, "forecasts/three", "LAI") == []


def test_of_a_run_that_is_not_finished_a_computed_day_is_shown_first(tmp_path: Path, explored: Path) -> None:
    path = tmp_path / "growing.zarr"
    shutil.copytree(explored, path)
    root = open_store(path, "a")
    periods = ledger.periods_of(FIRST, DAYS, 5)
    ledger.create(root, "EKF", periods=periods, cells=CELLS, cells_per_block=3, identity={})
    ledger.mark(root, "EKF", Block(0, 0, 3), periods[0], ledger.DONE)
    assert str(chosen(Content(open_store(path))).day) == "2007-06-05"


def test_a_store_with_nothing_in_it(tmp_path: Path) -> None:
    open_store(tmp_path / "empty", "a")
    with pytest.raises(StoreError, match="has nothing to show yet: neither land nor observations nor a run"):
        _ = Content(open_store(tmp_path / "empty")).sources


def test_cells_of_a_grid_are_an_image_and_scattered_ones_points(content: Content) -> None:
    grid = layout(*content.centres)
    assert isinstance(grid, Grid)
    np.testing.assert_allclose(grid.latitude, [43.0, 43.5])
    np.testing.assert_array_equal(grid.on_map(NUMBER.astype(float), np.nan), [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_allclose(grid.centres, content.centres)
    assert cell_at_click(*content.centres, 43.4, 1.6) == 4


def test_what_is_shown_can_be_taken_along(content: Content, tmp_path: Path) -> None:
    choice = chosen(content, cell="3", day="2007-06-04")
    shown, series = map_of(content, choice), series_at(content, choice)
    taken = map_dataset(content, shown)
    taken.to_netcdf(tmp_path / "map.nc")
    with xr.open_dataset(tmp_path / "map.nc") as again:
        assert again["LAI"].attrs["units"] == "m2 m-2"
        assert again.attrs["synthetic"] == "true"
        np.testing.assert_allclose(again["LAI"].sel(latitude=43.5, longitude=1.5), 1003.4, rtol=1e-6)
    table = map_table(content, shown)
    assert list(table) == ["cell", "latitude", "longitude", "LAI (m2 m-2)"]
    series_dataset(content, series).to_netcdf(tmp_path / "cell.nc")
    with xr.open_dataset(tmp_path / "cell.nc") as again:
        np.testing.assert_array_equal(again["quality_lai_observed"], [0, 3, 9])
        np.testing.assert_allclose(again["EKF"], 1000.3 + np.arange(DAYS), rtol=1e-6)
    table = series_table(series)
    rejected = table[(table["what"] == "innovation") & (table["quality"] == 3)]
    assert rejected["value"].tolist() == [0.5]
    assert set(table["unit"]) == {"m2 m-2"}
