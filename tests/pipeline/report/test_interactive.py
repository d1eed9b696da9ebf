"""The interactive part of a report: what it carries, how large it is, and that the same plots have the same bytes."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from ldas.pipeline.evaluation.evaluate import evaluate
from ldas.pipeline.report.answer import answer
from ldas.pipeline.report.answer_words import unknown
from ldas.pipeline.report.interactive import blocks_of_cells, interactive_part, packed
from ldas.pipeline.report.interactive_plots import bokeh_library, map_plot
from ldas.pipeline.report.sources import Sources
from ldas.pipeline.store.arrays import open_store
from tests.pipeline.evaluation.synthetic_store import Synthetic, make_store


def unpacked(one: dict) -> np.ndarray:
    whole = np.frombuffer(base64.b64decode(one["data"]), dtype="<i2").astype(float)
    return np.where(whole == -32768, np.nan, one["offset"] + one["scale"] * whole)


@pytest.mark.parametrize(
    "values", [[-3.5, np.nan, 0.0, 1e-3, 12.25], [7.0, np.nan, 7.0], [np.nan, np.nan], [1e9, -1e9]]
)
def test_packed_numbers_are_those_of_the_store_to_their_four_first_digits(values: list[float]) -> None:
    values = np.array(values)
    spread = np.nanmax(values) - np.nanmin(values) if np.isfinite(values).any() else 0.0
    assert np.allclose(unpacked(packed(values)), values, rtol=1e-12, atol=spread / 131_000, equal_nan=True)


def test_of_too_many_cells_blocks_are_averaged() -> None:
    north, east = (axis.ravel() for axis in np.meshgrid(np.arange(200) * 0.1, np.arange(300) * 0.1, indexing="ij"))
    groups, side = blocks_of_cells(north, east, 20_000)
    assert (side, groups.max() + 1) == (2, 15_000)
    assert (np.bincount(groups) == 4).all()
    assert np.ptp(north[groups == 777]) == pytest.approx(0.1)
    groups, side = blocks_of_cells(north[:20_000], east[:20_000], 20_000)
    assert side == 1
    assert np.array_equal(groups, np.arange(20_000))


def test_the_same_plot_has_the_same_bytes() -> None:
    axis = np.arange(3) * 0.25
    assert map_plot(axis, axis, 0.25, [("AAA", 0.1, 0.1)]) == map_plot(axis, axis, 0.25, [("AAA", 0.1, 0.1)])
    assert '"Rect"' in json.dumps(map_plot(axis, axis, 0.25, []))
    assert '"Rect"' not in json.dumps(map_plot(axis, axis, None, []))  # cells on no grid


def test_room_is_kept_and_nothing_is_said_about_nothing(tmp_path: Path) -> None:
    small = Synthetic(
        rows=3, columns=3, days=60, open_loop_days_before=60, operator=False, stations=False, forcing=False,
        second_experiment=False,
    )  # fmt: skip
    path = make_store(tmp_path, small)
    sources = Sources(evaluate(path))
    whole = interactive_part(sources, 10_000_000)
    assert whole is not None
    assert whole.note == ""
    fixed = len(bokeh_library()) + len(whole.script) + 100_000
    room = fixed + 14_000
    some = interactive_part(sources, room)
    assert some is not None
    assert len(some.library) + len(some.script) + len(some.plots) + len(some.data) <= room
    kept = json.loads(some.data)["places"]
    assert 1 <= len(kept) < 8
    assert some.note == f"There are series of {len(kept)} of the 8 cells: a click shows the nearest."
    assert interactive_part(sources, fixed) is None

    root = open_store(path, "a")
    del root["observations"]
    sources = Sources(evaluate(path))  # nothing left to compare with
    assert interactive_part(sources, 10_000_000) is None
    answered = answer(sources)
    assert answered is not None
    assert answered.sentences == [unknown("ekf", "open_loop")]
    assert answered.verdicts == []
