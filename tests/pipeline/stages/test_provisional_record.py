"""A run that ended with a provisional record of forcing, extended when it is final (docs/ingestion.md, Appending)."""

from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from ldas.pipeline.store.arrays import existing_array, open_store, read_region
from tests.helpers.runs import run_stages
from tests.helpers.synthetic_store import experiment, make_store

DAYS, LAST = 6, 4  # of the forcing in the end, and when its record at 24 UTC was provisional


def daily(path: Path, days: int, days_per_period: int, threads: Client) -> np.ndarray:
    """Latent heat flux and soil water after a run of some days, (2, day)."""
    config = experiment(
        path,
        period={"start": "2007-04-01", "end": f"2007-04-{days:02d}"},
        output={"mean": ["LE"], "instant": ["WG1"]},
        execution={"cells_per_block": 1, "days_per_period": days_per_period},
    )
    assert all(outcome.complete for outcome in run_stages(config, threads))
    root = open_store(str(path))
    return np.stack([read_region(root, "runs/open_loop", name)[:, 0] for name in ("LE", "WG1")])


def set_record(path: Path, temperature: float) -> None:
    """Another air temperature of the record at the end of the last day."""
    existing_array(open_store(str(path), "a"), "forcing", "Tair")[24 * LAST, 0] = temperature


@pytest.mark.parametrize(("ended", "days_per_period"), [(LAST, 2), (LAST, 3), (LAST - 1, 3)])
def test_what_an_extended_run_keeps(threads: Client, tmp_path: Path, ended: int, days_per_period: int) -> None:
    """The days of the first run; one that ended a day before is as one run at once."""
    make_store(tmp_path / "once", cells=1, days=DAYS)
    make_store(tmp_path / "pieces", cells=1, days=DAYS)
    final = float(np.asarray(existing_array(open_store(str(tmp_path / "once")), "forcing", "Tair")[24 * LAST, 0]))
    whole = daily(tmp_path / "once", DAYS, days_per_period, threads)
    set_record(tmp_path / "pieces", final + 5.0)
    first = daily(tmp_path / "pieces", ended, days_per_period, threads)
    set_record(tmp_path / "pieces", final)
    extended = daily(tmp_path / "pieces", DAYS, days_per_period, threads)
    if ended == LAST:
        assert first[0, -1] != whole[0, LAST - 1]
        np.testing.assert_array_equal(extended[:, :LAST], first)
        np.testing.assert_array_equal(extended[:, : LAST - 1], whole[:, : LAST - 1])
        assert (extended[:, LAST:] != whole[:, LAST:]).any()
        np.testing.assert_allclose(extended[:, LAST:], whole[:, LAST:], rtol=0.01)
    else:
        np.testing.assert_array_equal(extended, whole)
