"""Programs that write a store, each in a process of its own that a test can stop and kill."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import aiobotocore.session  # noqa: F401 - imported once, for all processes
import numpy as np
import s3fs  # noqa: F401

from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.errors import LeaseLostError, StoreInUseError
from ldas.pipeline.store import conditional, lease
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.location import Location
from tests.helpers.synthetic_store import experiment
from tests.helpers.toy import Silence, toy

WROTE, REFUSED, LOST = 10, 12, 13
_context = get_context("forkserver")  # it has imported everything once: a process more takes no time
_context.set_forkserver_preload([__name__])


def start(target: Callable[..., None], *arguments: Any, **settings: Any) -> BaseProcess:
    """A process that runs a function of this module, or any that it has; `settings` see `_configured`."""
    process = _context.Process(target=_configured, args=(target, settings, *arguments), daemon=True)
    process.start()
    return process


def statuses(processes: list[BaseProcess]) -> list[int | None]:
    """Exit status of each, when all have ended."""
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def _configured(
    target: Callable[..., None],
    settings: dict[str, Any],
    *arguments: Any,
) -> None:
    """expiry_s, settle_s: instead of the module's; environment: variables."""
    lease.EXPIRY_S = settings.get("expiry_s", lease.EXPIRY_S)
    conditional.SETTLE_S = settings.get("settle_s", conditional.SETTLE_S)
    os.environ.update(settings.get("environment", {}))
    try:
        target(*arguments)
    except StoreInUseError as error:
        print(error)
        os._exit(REFUSED)
    except LeaseLostError as error:
        print(error)
        os._exit(LOST)
    os._exit(WROTE)


def write_until(location: Location, begin: str, end: str) -> None:
    """Waits for the file `begin`, then takes the lease, and holds it until the file `end` is there."""
    wait_for(Path(begin))
    with lease.held(location, "the test"):
        Path(f"{begin}.{os.getpid()}").touch()
        wait_for(Path(end))


def die_holding(location: Location) -> None:
    """Takes the lease and is killed."""
    with lease.held(location, "the killed test"):
        os.kill(os.getpid(), signal.SIGKILL)


def count_up(location: Location, ready: str, pause_at: int | None = None) -> None:
    """Holds the lease and writes a number again and again, a little larger each time; stops itself after `pause_at`."""
    with lease.held(location, "the counting test"):
        array = open_store(location, "a").create_array("x", shape=(1,), dtype="int64", overwrite=True)
        for number in range(1, 10**9):
            array[:] = np.array([number])
            Path(ready).touch()
            if number == pause_at:
                os.kill(os.getpid(), signal.SIGSTOP)  # between two writes: one that has begun is still written
            time.sleep(0.02)


def run_toy(location: Location) -> None:
    """A whole run of the toy stage, from the lease to the end of the ledger."""
    config = experiment(Path(location.url), store={"url": location.url, "options": location.options})
    assert run_experiment(config, Silence(), stages=lambda _: iter([toy(location, seconds=0.05)])).complete


@contextmanager
def somebody_writes(location: Location, folder: Path) -> Iterator[BaseProcess]:
    """Inside the `with`, another process holds the lease."""
    begin, end = folder / "begin", folder / "end"
    begin.touch()
    process = start(write_until, location, str(begin), str(end))
    try:
        wait_for(folder / f"begin.{process.pid}")
        yield process
    finally:
        end.touch()
        process.join(60)
        for path in (begin, end):
            path.unlink()


def wait_for(path: Path, seconds: float = 60.0) -> None:
    """Returns when the file is there."""
    last = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < last, f"{path} did not come"
        time.sleep(0.01)
