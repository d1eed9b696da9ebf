"""The soil water index has a memory: what is appended equals, to the byte, what one ingest of all files makes."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ldas.assim.quality import Quality
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import filter_states, run_ingest
from ldas.pipeline.store import groups
from ldas.pipeline.store.arrays import array_hashes, open_dataset, open_store
from ldas.pipeline.store.location import as_location
from tests.pipeline.ingest import samples
from tests.pipeline.ingest.test_ascat import write_swath

POINTS = {11: (44.0, 0.0), 12: (44.0, 0.2), 13: (44.1, 0.0), 14: (44.1, 0.2)}
GROUP = "observations/swi"


def series(seed: int = 1, days: int = 12) -> pd.DataFrame:
    """Overpasses of four points at irregular times, some flagged; on day 3 morning and evening, on 5 and 6 none."""
    rng = np.random.default_rng(seed)
    rows = []
    for location in POINTS:
        for day in range(days):
            hours = rng.choice(24, size=rng.integers(0, 3), replace=False)
            for hour in () if day in (5, 6) else (9, 21) if day == 3 else hours:
                time = np.datetime64("2015-03-01", "s") + np.timedelta64(int(86400 * day + 3600 * hour + 997), "s")
                flag = 4 if day != 3 and rng.random() < 0.15 else 0
                rows.append((location, time, float(rng.uniform(10, 90)), flag))
    return pd.DataFrame(rows, columns=["location", "time", "sm", "conf_flag"])


def ingest(folder: Path, store: str, files: list[str], **change: Any) -> Any:
    continued = change.pop("continued", False)
    settings = samples.write_config(
        folder / "c.yaml",
        **{
            "store": {"url": store},
            "files": files,
            "cells": {"points": [[44.05, 0.1], [44.09, 0.02]]},
            "quantity": "swi",
            "swi_days": 7.0,
            "method": "bilinear",
            "append": True,
            **change,
        },
    )
    return run_ingest("ascat", settings, continued=continued)


def hashes(folder: Path, store: str) -> dict[str, str]:
    return array_hashes(as_location(folder / store))


def part(folder: Path, name: str, table: pd.DataFrame, first: str, end: str) -> str:
    """A file of the overpasses from `first` up to `end`."""
    inside = (table["time"] >= pd.Timestamp(first)) & (table["time"] < pd.Timestamp(end))
    samples.write_series(folder / name, POINTS, table[inside])
    return name


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, str]:
    """What one ingest of all overpasses stores."""
    part(tmp_path, "all.nc", series(), "2015-03-01", "2015-04-01")
    ingest(tmp_path, "one.zarr", ["all.nc"])
    return hashes(tmp_path, "one.zarr")


def test_appended_in_parts_it_equals_one_ingest(tmp_path: Path, whole: dict[str, str]) -> None:
    assert {"filter_states/swi/2015-03-12/index", f"{GROUP}/uncertainty"} <= set(whole)
    borders = ["2015-03-01", "2015-03-04", "2015-03-05", "2015-03-08", "2015-03-13"]
    for number, (first, end) in enumerate(itertools.pairwise(borders)):
        ingest(tmp_path, "two.zarr", [part(tmp_path, f"{number}.nc", series(), first, end)])
    assert hashes(tmp_path, "two.zarr") == whole  # the days without overpass too


def test_days_that_overlap_count_once(tmp_path: Path, whole: dict[str, str]) -> None:
    ingest(tmp_path, "two.zarr", [part(tmp_path, "a.nc", series(), "2015-03-01", "2015-03-06")])
    late = part(tmp_path, "b.nc", series(), "2015-03-03", "2015-04-01")
    before = hashes(tmp_path, "two.zarr")
    with pytest.raises(IngestError, match=r"only later times can be appended; set period\.start"):
        ingest(tmp_path, "two.zarr", [late])
    assert hashes(tmp_path, "two.zarr") == before
    ingest(tmp_path, "two.zarr", [late], period={"start": "2015-03-06"})
    assert hashes(tmp_path, "two.zarr") == whole


def test_an_experiment_that_goes_on_with_more_files(tmp_path: Path, whole: dict[str, str]) -> None:
    names = [part(tmp_path, "a.nc", series(), "2015-03-01", "2015-03-06")]
    ingest(tmp_path, "two.zarr", names)
    names.append(part(tmp_path, "b.nc", series(), "2015-03-06", "2015-04-01"))
    ingest(tmp_path, "two.zarr", names, continued=True)
    assert hashes(tmp_path, "two.zarr") == whole
    assert ingest(tmp_path, "two.zarr", names, continued=True) == ()
    assert hashes(tmp_path, "two.zarr") == whole


def test_a_period_end_leaves_the_rest_to_the_next_append(tmp_path: Path, whole: dict[str, str]) -> None:
    part(tmp_path, "all.nc", series(), "2015-03-01", "2015-04-01")
    ingest(tmp_path, "two.zarr", ["all.nc"], period={"end": "2015-03-03T23:59"})
    ingest(tmp_path, "two.zarr", ["all.nc"], period={"start": "2015-03-04", "end": "2015-03-08T23:59"})
    ingest(tmp_path, "two.zarr", ["all.nc"], period={"start": "2015-03-09"})
    assert hashes(tmp_path, "two.zarr") == whole


def test_a_day_split_over_two_files_is_not_lost_for_the_index(tmp_path: Path, whole: dict[str, str]) -> None:
    ingest(tmp_path, "two.zarr", [part(tmp_path, "a.nc", series(), "2015-03-01", "2015-03-04T12:00")])
    late = part(tmp_path, "b.nc", series(), "2015-03-04T12:00", "2015-04-01")
    with pytest.raises(IngestError, match=r"only later times can be appended; set period\.start"):
        ingest(tmp_path, "two.zarr", [late])
    (done,) = ingest(tmp_path, "two.zarr", [late], period={"start": "2015-03-05"})
    assert any("overpasses of stored days came after" in note for note in done.notes)
    one, two = (open_dataset(tmp_path / store, GROUP).load() for store in ("one.zarr", "two.zarr"))
    later = one["nominal_time"].to_numpy() >= np.datetime64("2015-03-05")
    for name in ("value", "uncertainty", "count"):
        np.testing.assert_array_equal(one[name][later], two[name][later])


def test_an_append_that_is_interrupted_leaves_group_and_state_as_they_were(
    tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tmp_path, "two.zarr", [part(tmp_path, "a.nc", series(), "2015-03-01", "2015-03-06")])
    late = part(tmp_path, "b.nc", series(), "2015-03-06", "2015-04-01")
    location = as_location(tmp_path / "two.zarr")
    before = open_dataset(location, GROUP).load()
    state = filter_states.state_of(location, GROUP, before)
    original, written = groups._write_variable, []

    def stops(array: Any, *rest: Any) -> str:
        if array.path.startswith(GROUP) and len(written) == 2:
            raise KeyboardInterrupt
        written.append(array.path) if array.path.startswith(GROUP) else None
        return original(array, *rest)

    monkeypatch.setattr(groups, "_write_variable", stops)
    with pytest.raises(KeyboardInterrupt):
        ingest(tmp_path, "two.zarr", [late])
    monkeypatch.undo()
    after = open_dataset(location, GROUP).load()
    assert after.equals(before)
    again = filter_states.state_of(location, GROUP, after)
    assert state is not None
    assert again is not None
    np.testing.assert_array_equal(state.index, again.index)
    ingest(tmp_path, "two.zarr", [late])
    assert hashes(tmp_path, "two.zarr") == whole
    assert list(open_store(location)["filter_states/swi"].group_keys()) == ["2015-03-12"]  # type: ignore[union-attr]


def test_days_without_a_usable_overpass_keep_the_memory(tmp_path: Path) -> None:
    table = series()
    table.loc[
        (table["time"] >= pd.Timestamp("2015-03-04")) & (table["time"] < pd.Timestamp("2015-03-06")), "conf_flag"
    ] = 4
    part(tmp_path, "all.nc", table, "2015-03-01", "2015-04-01")
    ingest(tmp_path, "one.zarr", ["all.nc"])
    for number, (first, end) in enumerate((("01", "04"), ("04", "06"), ("06", "13"))):
        name = part(tmp_path, f"{number}.nc", table, f"2015-03-{first}", f"2015-03-{end}")
        ingest(tmp_path, "two.zarr", [name])
    assert hashes(tmp_path, "two.zarr") == hashes(tmp_path, "one.zarr")


def test_another_product_cannot_continue_the_filter(tmp_path: Path) -> None:
    ingest(tmp_path, "two.zarr", [part(tmp_path, "a.nc", series(), "2015-03-01", "2015-03-06")])
    later = series()[series()["time"] >= pd.Timestamp("2015-03-07")]
    samples.write_series(
        tmp_path / "b.nc",
        {number + 100: place for number, place in POINTS.items()},
        later.assign(location=later["location"] + 100),
    )
    before = hashes(tmp_path, "two.zarr")
    with pytest.raises(IngestError, match="places of the new observations are not among the 4"):
        ingest(tmp_path, "two.zarr", ["b.nc"])
    assert hashes(tmp_path, "two.zarr") == before


def test_swaths_day_by_day(tmp_path: Path) -> None:
    for day in range(3):
        write_swath(tmp_path / f"{day}.nc", day)
    common: dict[str, Any] = {"cells": {"points": [[44.0, 0.1], [44.21, -0.01]]}, "method": "nearest"}
    ingest(tmp_path, "one.zarr", ["?.nc"], **common)
    for day in range(3):
        ingest(tmp_path, "two.zarr", [f"{day}.nc"], **common)
    assert hashes(tmp_path, "two.zarr") == hashes(tmp_path, "one.zarr")
    stored = open_dataset(tmp_path / "one.zarr", GROUP).load()
    assert (stored["quality"] == Quality.USED).any()
    assert np.unique(stored["value"].to_numpy()[stored["quality"].to_numpy() == Quality.USED]).size > 1


def test_a_new_group_without_a_usable_value_is_refused_unless_it_is_wanted(tmp_path: Path) -> None:
    table = series().assign(conf_flag=4)
    name = part(tmp_path, "a.nc", table, "2015-03-01", "2015-04-01")
    with pytest.raises(IngestError, match=r"none of the \d+ values is usable .*`nothing_usable: store`"):
        ingest(tmp_path, "one.zarr", [name], quantity="ssm")
    assert not (tmp_path / "one.zarr").exists()
    (done,) = ingest(tmp_path, "one.zarr", [name], quantity="ssm", nothing_usable="store")
    stored = open_dataset(tmp_path / "one.zarr", "observations/ssm")
    assert stored.attrs["ingests"][0]["configuration"]["nothing_usable"] == "store"
    assert done.sizes["time"] == stored.sizes["time"]
    ingest(tmp_path, "one.zarr", [name], quantity="swi", nothing_usable="store")  # a filter that has seen nothing
    assert np.isnan(open_dataset(tmp_path / "one.zarr", GROUP)["value"].to_numpy()).all()
