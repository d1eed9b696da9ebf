"""The scores of docs/hawaii.md: values and intervals by hand, and the observations that its configuration takes."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from ldas.pipeline.evaluation import metrics
from ldas.pipeline.ingest import run_ingest
from ldas.pipeline.store.arrays import open_dataset
from ldas.pipeline.store.location import Location
from tests.support import REPOSITORY, shared

EXAMPLES = REPOSITORY / "examples" / "hawaii"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(REPOSITORY / "benchmarks" / "station_scores.py"))


def test_a_score_and_its_interval(script: dict[str, Any]) -> None:
    random = np.random.default_rng(1)
    reference = random.normal(size=400)
    noisy = reference + random.normal(size=400)  # R of 1 / sqrt(2)
    found = script["score"](noisy + 0.5, reference)
    assert found["bias"][0] == pytest.approx(float(np.mean(noisy + 0.5 - reference)))
    for value, low, high in found.values():
        assert low < value < high
    low, high = found["r"][1:]
    assert low < np.sqrt(0.5) < high
    # Independent days: half the width of Fisher's interval is 1.96 / sqrt(397), in z.
    assert np.arctanh(high) - np.arctanh(low) == pytest.approx(2 * 1.96 / np.sqrt(397), rel=0.25)
    assert script["score"](reference, reference)["r"] == pytest.approx((1.0, 1.0, 1.0))
    axis = {"time": np.arange(400)}
    series = (xr.DataArray(values, dims="time", coords=axis) for values in (noisy, reference))
    assert found["r without season"][0] == pytest.approx(float(metrics.anomaly_correlation(*series)), abs=0.01)


def test_a_gain_and_a_table_are_of_the_days_that_all_have(script: dict[str, Any]) -> None:
    random = np.random.default_rng(2)
    reference = random.normal(size=300)
    good, bad = reference + 0.3 * random.normal(size=300), reference + 2.0 * random.normal(size=300)
    value, low, high = script["gain"](good, bad, reference)
    assert 0.3 < low < value < high < 0.8
    good[:50], reference[-20:] = np.nan, np.nan
    found = script["table"]({"first": bad, "second": good}, reference, "first")
    assert found["N"].tolist() == [230, 230]
    assert found["gain of R"].notna().tolist() == [False, True]
    assert script["layer_at"](0.0508) == "WG3"
    assert script["layer_at"](0.508) == "WG6"


def test_triple_collocation_finds_the_errors_of_made_up_series(script: dict[str, Any]) -> None:
    pytest.importorskip("pytesmo")
    random = np.random.default_rng(3)
    truth = random.normal(size=3000)
    series = {f"{error}": truth + error * random.normal(size=3000) for error in (0.3, 0.5, 1.0)}
    found = script["triple_collocation"](series)
    for error, text in zip((0.3, 0.5, 1.0), found["error"], strict=True):
        value, low, high = (float(word.strip("()")) for word in text.replace("(", "").split() if word != "to")
        assert value == pytest.approx(error, rel=0.1)
        assert low < error < high


def test_the_example_takes_no_backscatter_of_the_years_without_weather(tmp_path: Path) -> None:
    """The two ingests of a group, one after the other, as a run does them."""
    file = shared("data/ascat/H119_0165.nc")
    store = Location(str(tmp_path / "s.zarr"))
    for source, name, continued in (
        ("site", "land", False),
        ("ascat", "sigma40", False),
        ("ascat", "sigma40_from_2016", True),
    ):
        content = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
        if "files" in content:
            content["files"] = [str(file)]
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        run_ingest(source, tmp_path / f"{name}.yaml", store, continued=continued)
    found = open_dataset(store, "observations/sigma40").load()
    years = np.unique(found["nominal_time"].dt.year)
    assert years.tolist() == [2010, 2011, 2012, 2013, 2016, 2017, 2018, 2019, 2020]
    with xr.open_dataset(file) as raw:
        place = int(np.flatnonzero(raw["location_id"].to_numpy() == 1102282)[0])
        start = int(np.nan_to_num(raw["row_size"].to_numpy()[:place]).sum())
        part = raw[["sigma40"]].isel(obs=slice(start, start + int(raw["row_size"][place]))).load()
    days = part["time"].to_numpy().astype("datetime64[D]")
    day = days[days >= np.datetime64("2018-03-05")].min()
    inside = days == day
    expected = part["sigma40"].to_numpy()[inside]
    (row,) = np.flatnonzero(found["nominal_time"].to_numpy().astype("datetime64[D]") == day)
    assert found["value"].to_numpy()[row, : len(expected), 0] == pytest.approx(expected, abs=1e-4)
    assert np.isnan(found["value"].to_numpy()[row, len(expected) :]).all()
    hours = (part["time"].to_numpy()[inside] - day) / np.timedelta64(1, "h")  # every overpass keeps its hour
    assert found["overpass_hour"].to_numpy()[row, : len(expected), 0] == pytest.approx(hours, abs=1e-3)
