"""What one sees of a run, in a log and in a terminal; and how local clusters use the cores."""

import io

import numpy as np
import pytest
from rich.console import Console

from ldas.pipeline.errors import ExecutionError
from ldas.pipeline.execution import cluster
from ldas.pipeline.execution.progress import ProgressDisplay
from ldas.pipeline.execution.stage import TaskResult
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.store.ledger import Block, Period

PERIOD = Period(0, np.datetime64("2007-01-01", "s"), np.datetime64("2008-01-01", "s"), slice(0, 365))


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now


def result(cells: int = 10, days: float = 365.25) -> TaskResult:
    """A task that ran."""
    return TaskResult(0, 0, cells, days, 1.0, 0)


def test_a_log_gets_plain_lines_at_intervals() -> None:
    text, clock = io.StringIO(), Clock()
    with ProgressDisplay(Console(file=text, width=40), interval_s=10.0, clock=clock) as display:
        display.stage_started("open_loop", 8, 2)
        for clock.now in (4.0, 8.0, 12.0, 16.0):
            display.task_done("open_loop", result())
        display.block_failed("open_loop", Block(3, 30, 40), PERIOD, "soil [made] of cheese")
        clock.now = 20.0
        display.stage_finished("open_loop")
    assert text.getvalue().splitlines() == [
        "open_loop: 8 tasks, 2 done before",
        "open_loop: 5/8 tasks, 2.50 cell-years/s, 12 s left",
        "open_loop, block 3 (cells 30 to 39), 2007-01-01 to 2008-01-01: set aside: soil [made] of cheese",
        "open_loop: done in 20.0 s (2.00 cell-years/s), 1 block set aside",
    ]


def test_a_terminal_gets_a_live_line() -> None:
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, force_terminal=True, width=120)) as display:
        display.stage_started("open_loop", 2, 0)
        display.task_done("open_loop", result())
        display.stage_finished("open_loop")
    assert "1/2" in text.getvalue()
    assert "cell-years/s" in text.getvalue()


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({}, (1, 4)),
        ({"workers": 3}, (1, 3)),
        ({"workers": 2, "threads_per_worker": 2}, (1, 4)),
        ({"processes": True}, (4, 1)),
        ({"processes": True, "threads_per_worker": 2}, (2, 2)),
        ({"processes": True, "workers": 3}, (3, 1)),
    ],
)
def test_all_cores_are_used_by_default(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, int], shape: tuple[int, int]
) -> None:
    monkeypatch.setattr(cluster, "usable_cores", lambda: 4)
    assert cluster.local_shape(ClusterConfig.model_validate(settings)) == shape


@pytest.mark.parametrize(("kind", "package"), [("kubernetes", "dask_kubernetes"), ("gateway", "dask_gateway")])
def test_a_cluster_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch, kind: str, package: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with (
        pytest.raises(ExecutionError, match=f"needs the package {package}: pip install"),
        cluster.connected(ClusterConfig.model_validate({"kind": kind})),
    ):
        pass
