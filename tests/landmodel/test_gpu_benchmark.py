"""The benchmark of the card runs its logic without one, and says so where it needs one."""

import json
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from benchmarks.landmodel_gpu import DAYS, OUTPUT, STEPS, Nothing, Pool, crossing, main, shares
from ldas.landmodel.gpu import CardError, find_card
from tests.landmodel.host_device import HostDevice


def test_without_a_card_it_measures_the_processor_if_asked_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rates.json"
    assert main(["--cpu-only", "--columns", "24", "8", "--with-members", "8", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert found["card"] is None
    assert 0.2 < found["snow_share"] < 0.6
    cases = [(row["columns"], row["start"], row["members"], row["daily_output"]) for row in found["rows"]]
    once = [(8, 1), (24, 1)]
    assert cases == [
        *((count, start, members, output) for start, output in (("snow", True), ("snow", False), ("bare", True))
          for count, members in once),
        (8, "snow", 9, True),
    ]  # fmt: skip
    assert all(row["one_core"]["per_second"] > 0.0 and row["all_cores"]["per_second"] > 0.0 for row in found["rows"])
    assert found["crossing_columns"] == {"one_core": None, "all_cores": None}
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(cases)


def test_shares_of_a_run_add_up_to_it() -> None:
    waits: list[None] = []
    device = HostDevice()
    found = shares(Pool().case(8, "snow", 2), OUTPUT, device, lambda: waits.append(None))
    assert sum(steps for _, steps in device.launches) == STEPS
    assert sum(found[name] for name in ("kernel", "transfer", "open_and_close", "host")) == pytest.approx(
        found["whole"]
    )
    assert found["kernel"] > found["transfer"] > 0.0
    assert len(waits) > len(device.launches)


def test_the_time_of_the_host_is_told_by_item(capsys: pytest.CaptureFixture[str]) -> None:
    """Each spell between two calls of the device is of the item it belongs to, and all are counted once."""
    device, spent = Nothing(), 0.02

    def work() -> None:
        until = time.process_time() + spent
        while time.process_time() < until:
            pass

    calls: list[tuple[str, str]] = [
        ("open", "start"), ("into_tiles", "columns"), ("sent", "launches"), ("send", "forcing"),
        ("fetched", "launches"), ("take", "outputs"), ("from_tiles", "launches"), ("close", "end"), ("", "end"),
    ]  # fmt: skip
    for name, item in calls:
        before = dict(device.seconds)
        work()
        getattr(device, name)(None, np.zeros(1)) if name else device.reached(name)
        assert [key for key in before if device.seconds[key] - before[key] >= spent] == [item], name
    assert sum(device.seconds.values()) == pytest.approx(spent * len(calls), rel=0.2)

    assert main(["--host-only", "--columns", "1000", "--repeats", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    first = lines[0].split()  # 1,000 columns: X s a day, Y s a run; ...
    for per, shown in (("day", first[2]), ("run", first[6])):
        parts = [float(line.split()[0]) for line in lines[1:] if f"s a {per}" in line]
        assert len(parts) == 3
        assert 0.0 < float(shown) == pytest.approx(sum(parts), abs=2.1e-4)  # each is rounded
    assert f"of {DAYS} days" in lines[0]


def test_without_a_card_and_without_that_option_it_ends_with_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(CardError):
        pytest.skip(f"this machine has {find_card()}")
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert "--cpu-only" in shown.err


def test_the_crossing_point_lies_between_two_counts() -> None:
    def row(columns: int, gpu: float) -> dict[str, object]:
        return {"columns": columns, "gpu": {"per_second": gpu}, "one_core": {"per_second": 1.0}}

    assert crossing([row(10, 0.1), row(1000, 10.0)], "one_core") == pytest.approx(100.0)
    assert crossing([row(10, 2.0), row(1000, 10.0)], "one_core") == pytest.approx(10.0)  # or fewer
    assert crossing([row(10, 0.1), row(1000, 0.5)], "one_core") is None
    assert crossing([{"columns": 10}], "one_core") is None
    assert np.isfinite(crossing([row(10, 0.5), row(20, 0.9), row(30, 1.2)], "one_core"))
