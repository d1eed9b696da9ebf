"""Skill by lead day, against the same numbers worked out by hand, and the section of the report that shows it."""

from pathlib import Path

import numpy as np
import pytest

from ldas.assim.quality import Quality
from ldas.pipeline.report import write_report
from ldas.pipeline.report.sentences import forecast
from ldas.pipeline.report.write import Report
from ldas.pipeline.store.arrays import open_dataset, open_run
from tests.pipeline.evaluation.synthetic_store import START, Synthetic, make_store

DAYS = 60
MADE = Synthetic(
    rows=1, columns=1, days=DAYS, open_loop_days_before=60, truth=True, stations=False, forcing=False, forecasts=True,
    second_experiment=False, cells_per_block=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("synthetic"), MADE)


@pytest.fixture(scope="module")
def report(store: Path) -> Report:
    return write_report(str(store))


def series(store: Path, group: str, name: str) -> np.ndarray:
    """A daily series from the first day that all have."""
    return np.asarray(open_dataset(str(store), group)[name].sel(time=slice(START, None)).values, dtype=float)


@pytest.mark.parametrize(
    ("comparison", "variable", "reference"), [("LAI_truth", "LAI", "truth"), ("swi_observations", "WG2", "swi")]
)
def test_scores_by_lead_day(store: Path, report: Report, comparison: str, variable: str, reference: str) -> None:
    """Of the days that are compared: the last forecasts go on after them."""
    found = open_dataset(str(store), f"scores/forecasts_ahead_{comparison}").load()
    given = open_dataset(str(store), "forecasts/ahead")[variable].values.astype(float)
    group, name = ("truth", variable) if reference == "truth" else ("observations/swi", "value")
    observed, free = series(store, group, name), series(store, "runs/open_loop", variable)
    for lead in range(4):
        days = 5 * np.arange(len(given)) + lead + 1
        inside = days < DAYS
        for label, values in ((0, given[inside, lead]), (1, free[days[inside]])):
            pairs = values, observed[days[inside]]
            one = found.isel(series=label, lead_day=lead)
            assert (one["n"] == inside.sum()).all()
            np.testing.assert_allclose(one["r"], np.corrcoef(*(part[:, 0] for part in pairs))[0, 1], rtol=1e-5)
            if reference == "truth":
                difference = pairs[0] - pairs[1]
                np.testing.assert_allclose(one["bias"], difference.mean(axis=0), rtol=1e-4)
                np.testing.assert_allclose(one["rmsd"], np.sqrt((difference**2).mean(axis=0)), rtol=1e-5)
    assert ("rmsd" in found) == (reference == "truth")
    assert found["series"].attrs["labels"] == ["ahead", "open_loop"]


def test_backscatter_is_predicted_from_the_states_of_the_forecasts(store: Path, report: Report) -> None:
    found = open_dataset(str(store), "scores/forecasts_ahead_sigma40_observations").load()
    with open_dataset(str(store), "observations/sigma40") as observed:
        usable = np.isfinite(observed["value"].values) & (observed["quality"].values == Quality.USED)
    usable = usable[-DAYS:]
    usable[:20] = False  # frozen in the first twenty days, says the run
    for lead in range(4):
        days = np.arange(lead + 1, DAYS, 5)
        assert (found["n"].isel(lead_day=lead) == usable[days].sum(axis=0)).all()
    # near nature on the first day, where the open loop is not, and further from it on the last
    forecasts, open_loop = found["rmsd"].isel(cell=0).values
    assert forecasts[0] < min(open_loop[0], forecasts[3])


def test_the_section_of_the_report(report: Report) -> None:
    page = report.page.read_text(encoding="utf-8")
    assert "Forecasts from the analyses" in page
    assert "Forecasts “ahead” of leaf area index, from the analyses of “ekf”, are closer to" in page
    assert "RMSD of leaf area index against the truth by days from the analysis of ekf" in page
    rows = [row for row in report.numbers["tables"]["forecasts"] if row["reference"] == "truth"]
    assert [row["day"] for row in rows if row["variable"] == "LAI"] == [1, 2, 3, 4]
    assert {row["variable"] for row in rows} == {
        "LAI",
        "WG2",
    }  # TG2 is in the scores, not among what runs are judged by
    assert all(row["RMSD"] < row["open_loop RMSD"] for row in rows if row["variable"] == "LAI" and row["day"] < 3)
    assert "forecasts_ahead_TG2_truth" in open_run(str(report.page.parent.parent / "synthetic.zarr"))["scores"]


def test_sentences() -> None:
    words = {"what": "leaf area index", "reference": "the truth", "score": "RMSD", "unit": "m2 m-2"}
    found = forecast("f", "ekf", **words, values=np.array([0.1, 0.5]), open_loop=np.array([0.4, 0.4]))
    assert "are closer to the truth than the open loop on 1 of 2 days (median RMSD 0.100" in found
    assert "0.500\u00a0m²\u00a0m⁻² instead of 0.400\u00a0m²\u00a0m⁻² on day 2)" in found
    words |= {"score": "R", "unit": ""}
    found = forecast("f", "ekf", **words, values=np.array([0.9, np.nan]), open_loop=np.array([0.8, np.nan]))
    assert "correlate better with the truth than the open loop on 1 of 1 day (median R 0.900 instead" in found
    assert "on no day" in forecast("f", "ekf", **words, values=np.array([0.7]), open_loop=np.array([0.8]))
    assert "median R against the truth 0.700 on day 1." in forecast(
        "f", "ekf", **words, values=np.array([0.7]), open_loop=None
    )
    assert "too few days" in forecast("f", "ekf", **words, values=np.array([np.nan]), open_loop=None)
