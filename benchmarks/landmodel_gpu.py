"""Speed of the land model on the card and on the processor: the same columns, the same days, in one run.

Columns are drawn from a pool of a thousand, five in a cell: patches, textures and places at random. Cells have the
HAPEX 1986 forcing (where the reference data are: LDAS_SHARED or ../shared; else a synthetic year), hourly, shifted in
temperature by -22 to +12 K, with humidity, long wave and snowfall to match, and in time by their longitude, so that day
and night, frost and warmth are mixed. `snow`: three days from 8 January on, after a week that laid snow on part of the
columns; the others begin on 1 January without any. `daily output`: five means and three states (16 values) a day.

A rate is the median of several runs, in column-steps per second of wall-clock time of `Isba.run`, all included: order
of columns, state and parameters to the card and back, forcing, output. Shares come from one more run in which the host
waits for the card after every call: kernel, transfer and the rest, the host's own work; in the other runs they overlap.

Without a card: one message and exit status 2, unless `--cpu-only` asks for the processor's part alone, or `--host-only`
for what a run on a card costs the processor: its time by item, on a device that neither copies nor computes.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

# run as a script, this file's folder comes first in the path, and landmodel.py in it would hide the package of its name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.landmodel import hapex_forcing  # noqa: E402
from ldas.landmodel import (  # noqa: E402
    Forcing,
    Isba,
    LandModelError,
    OutputRequest,
    Parameters,
    State,
    cold_start,
    columns,
)  # fmt: skip
from ldas.landmodel.gpu import Card, CardError, columns_that_fit, find_card  # noqa: E402
from ldas.landmodel.vegetation_table import VEGETATION_OF_PATCH  # noqa: E402

if TYPE_CHECKING:
    from ldas.landmodel.gpu.device import Device

HOST_COUNTS = (100_000, 1_000_000)
COUNTS = (50, 200, 1_000, 10_000, 100_000, 1_000_000, 2_000_000)
MEMBERS = 9
WITH_MEMBERS = 100_000  # columns
STEP_S, DAYS, LAYING_DAYS = 1800, 3, 7
STEPS = DAYS * 86400 // STEP_S
OUTPUT = OutputRequest(
    mean=("LE", "H", "GPP", "DRAINAGE", "RUNOFF"), instant=("LAI", "SWE", "TG"), instant_hour=9, interval_s=86400
)
OUTPUT_VALUES = 5 + 2 + 14
KERNEL = ("advance", "add_state", "take", "take_means")
A_RUN, A_DAY = ("start", "columns", "end"), ("forcing", "outputs", "launches")
HOST_ITEMS = {
    "start": "checks, the plan, order of columns",
    "columns": "state and parameters made into rows",
    "end": "state back in its order, outputs by name",
    "forcing": "checked and put into the buffers",
    "outputs": "put into their place",
    "launches": "all else between two calls of the device",
}
TRANSFER = ("put", "into_tiles", "from_tiles", "send", "sent", "fetch", "fetched")


class Pool:
    """A thousand columns in two hundred cells, and their weather."""

    columns, cells = 1000, 200

    def __init__(self) -> None:
        random = np.random.default_rng(3)
        cell = np.repeat(np.arange(self.cells), self.columns // self.cells)
        patch = np.concatenate([np.sort(random.choice(12, 5, replace=False)) for _ in range(self.cells)])
        clay = random.uniform(0.05, 0.6, self.cells)
        sand = np.maximum(random.uniform(0.05, 1.0, self.cells) * (0.95 - clay), 0.03)
        warmer, longitude = random.uniform(-22.0, 12.0, self.cells), random.uniform(-180.0, 180.0, self.cells)
        self.parameters = columns(
            [VEGETATION_OF_PATCH[p] for p in patch], cell, patch + 1, np.full(cell.size, 0.2), clay[cell], sand[cell],
            43.68, longitude[cell],
        )  # fmt: skip
        self.forcing, self.name = self._forcing(warmer, np.round(longitude / 15.0).astype(int))
        bare = cold_start(self.parameters, 282.0 + warmer[cell])
        laid, _ = Isba(self.parameters).run(bare, self._days(0, LAYING_DAYS), "1986-01-01", STEP_S)
        self.starts = {"bare": (bare, 0), "snow": (laid, LAYING_DAYS)}
        self.snow_share = float((np.asarray(laid.snow_water_equivalent).sum(axis=-1) > 0.0).mean())

    def _forcing(self, warmer: np.ndarray, earlier: np.ndarray) -> tuple[dict[str, np.ndarray], str]:
        """Hourly forcing (record, cell), float32, of the first days of January."""
        series, name = hapex_forcing()
        hours = 24 * (LAYING_DAYS + DAYS) + 1
        place = (2 * (np.arange(hours)[:, None] + earlier)) % 17_520  # half-hours of the year
        fields = {key: np.asarray(values)[:, 0][place] for key, values in series._asdict().items()}
        before, air = fields["Tair"], fields["Tair"] + warmer
        fields["Qair"] *= np.exp(17.27 * ((air - 273.16) / (air - 35.86) - (before - 273.16) / (before - 35.86)))
        fields |= {"Tair": air, "LWdown": fields["LWdown"] + 4.5 * warmer}
        fallen, cold = fields["Rainf"] + fields["Snowf"], air < 273.66
        fields |= {"Rainf": np.where(cold, 0.0, fallen), "Snowf": np.where(cold, fallen, 0.0)}
        return {key: values.astype("float32") for key, values in fields.items()}, name

    def _days(self, first: int, days: int, cells: np.ndarray | None = None) -> Forcing:
        records = slice(24 * first, 24 * (first + days) + 1)
        used = slice(None) if cells is None else cells
        return Forcing(
            **{name: np.ascontiguousarray(values[records][:, used]) for name, values in self.forcing.items()}
        )

    def case(self, count: int, start: str, members: int) -> "Case":
        """So many columns, those of the pool again and again, in cells of their own."""
        number = np.arange(count)
        cell = number // (self.columns // self.cells)
        parameters: Parameters = self.parameters.take(number % self.columns)._replace(cell=cell)
        state, first_day = self.starts[start]
        state = state.take(number % self.columns)
        return Case(
            Isba(parameters), state.members(members) if members > 1 else state,
            self._days(first_day, DAYS, np.arange(cell[-1] + 1) % self.cells),
            np.datetime64("1986-01-01", "s") + np.timedelta64(first_day, "D"),
        )  # fmt: skip


class Case:
    """Columns, their state and weather, ready to run."""

    def __init__(self, model: Isba, state: State, forcing: Forcing, start: np.datetime64) -> None:
        self.model, self.state, self.forcing, self.start = model, state, forcing, start
        self.column_steps = int(np.prod(np.shape(state.leaf_area_index))) * STEPS

    def run(self, output: OutputRequest | None, **keys: Any) -> tuple[State, float]:
        """The state in the end, and seconds."""
        began = time.perf_counter()
        after, _ = self.model.run(self.state, self.forcing, self.start, STEP_S, STEPS, output=output, **keys)
        return after, time.perf_counter() - began


class Waiting:
    """A device that waits until each call is done, and adds up how long calls of each kind took."""

    def __init__(self, device: "Device", wait: Callable[[], None]) -> None:
        self._device, self._wait = device, wait
        self.seconds = {"kernel": 0.0, "transfer": 0.0, "open_and_close": 0.0}

    def __getattr__(self, name: str) -> Any:
        kind = "kernel" if name in KERNEL else "transfer" if name in TRANSFER else "open_and_close"
        call = getattr(self._device, name)

        def timed(*arguments: Any, **keys: Any) -> Any:
            began = time.perf_counter()
            answer = call(*arguments, **keys)
            self._wait()
            self.seconds[kind] += time.perf_counter() - began
            return answer

        return timed


def shares(case: Case, output: OutputRequest | None, device: "Device", wait: Callable[[], None]) -> dict[str, float]:
    """Seconds of a run that waits for each call: by kind, the host's own, and all."""
    waiting = Waiting(device, wait)
    _, whole = case.run(output, device=waiting)
    return {**waiting.seconds, "host": whole - sum(waiting.seconds.values()), "whole": whole}


class Nothing:
    """A device that neither copies nor computes: the processor's time between its calls is the host's, by item.

    What comes before a call, or after one that waited for numbers, tells the item. Copies by the driver of a card, some
    of which take the processor too, are not in it.
    """

    _AFTER: ClassVar = {"fetched": "outputs", "from_tiles": "end", "close": "end"}
    _BEFORE: ClassVar = {"open": "start", "into_tiles": "columns", "put": "columns", "send": "forcing"}

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(HOST_ITEMS, 0.0)
        self.new_memory_s = 0.0
        self._last, self._since, self._system = "", time.process_time(), os.times().system

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self.reached(name)
            answer = None
            if name == "host":
                answer = np.full(*arguments[:1], 1.0, *arguments[1:])  # in memory that is there, as on a card
            elif name == "from_tiles":
                arguments[1][:] = 1.0
            self._since, self._system = time.process_time(), os.times().system
            return answer

        return call

    def reached(self, name: str) -> None:
        """Count the time since the last call, before the call of a name."""
        item = self._AFTER.get(self._last) or self._BEFORE.get(name, "launches")
        self.seconds[item] += time.process_time() - self._since
        self.new_memory_s += os.times().system - self._system
        self._last = name


def host_work(case: Case, output: OutputRequest | None, repeats: int) -> tuple[dict[str, float], float]:
    """The host's processor time (s) of a run, median by item, of the run and of each of its days; and how much of all
    of it the system took, nearly all to hand out new memory."""
    found, system = [], []
    for _ in range(repeats):
        device = Nothing()
        case.run(output, device=device)
        device.reached("")
        found.append(device.seconds)
        system.append(device.new_memory_s)
    middle = {item: statistics.median(seconds[item] for seconds in found) for item in HOST_ITEMS}
    each = {item: seconds / (DAYS if item in A_DAY else 1) for item, seconds in middle.items()}
    return each, statistics.median(system)


def host_only(pool: Pool, counts: Iterable[int], repeats: int) -> list[dict[str, Any]]:
    """Prints and returns the host's processor time by number of columns, with daily output."""
    rows = []
    for count in counts:
        seconds, system = host_work(pool.case(count, "snow", 1), OUTPUT, repeats)
        day, run = (sum(seconds[item] for item in items) for items in (A_DAY, A_RUN))
        rows.append({"columns": count, "seconds": seconds, "a_day": day, "a_run": run, "system_s": system})
        print(
            f"{count:,} columns: {day:.4f} s a day, {run:.4f} s a run; system: {system:.4f} s of {DAYS} days",
            flush=True,
        )
        for item, what in HOST_ITEMS.items():
            per = "a day" if item in A_DAY else "a run"
            print(f"  {seconds[item]:8.4f} s {per}  {item}: {what}", flush=True)
    return rows


def rate(case: Case, output: OutputRequest | None, repeats: int, **keys: Any) -> dict[str, Any]:
    """Column-steps per second: median, least and most."""
    rates = [case.column_steps / case.run(output, **keys)[1] for _ in range(repeats)]
    return {"per_second": statistics.median(rates), "least": min(rates), "most": max(rates)}


def differences(first: State, second: State) -> dict[str, float]:
    """Largest differences of two states."""
    names = {"TG": "soil_temperature", "WG": "soil_water", "WGI": "soil_ice", "LAI": "leaf_area_index"}
    return {key: float(np.nanmax(np.abs(getattr(first, n) - getattr(second, n)))) for key, n in names.items()}


def crossing(rows: Iterable[dict[str, Any]], against: str) -> float | None:
    """Columns at which the card overtakes, on lines through the logarithms between counts; None if it does not."""
    points = [
        (np.log(row["columns"]), np.log(row["gpu"]["per_second"] / row[against]["per_second"]))
        for row in rows
        if "gpu" in row and against in row
    ]
    if points and points[0][1] >= 0.0:
        return float(np.exp(points[0][0]))
    for (x0, y0), (x1, y1) in pairwise(points):
        if y0 < 0.0 <= y1:
            return float(np.exp(x0 + (x1 - x0) * y0 / (y0 - y1)))
    return None


def measured(pool: Pool, plan: dict[str, Any], card: Card | None, options: argparse.Namespace) -> dict[str, Any]:
    """One line of the table."""
    output = OUTPUT if plan["daily_output"] else None
    row: dict[str, Any] = {**plan, "steps": STEPS}
    if card is not None and plan["columns"] > columns_that_fit(card, plan["members"], OUTPUT_VALUES if output else 0):
        return {**row, "left_out": "does not fit on the card"}
    case = pool.case(plan["columns"], plan["start"], plan["members"])
    on_processor: State | None = None
    if plan["columns"] * plan["members"] <= options.one_core_rows:
        row["one_core"] = rate(case, output, 1)
    if plan["columns"] * plan["members"] <= options.all_cores_rows:
        on_processor, seconds = case.run(output, threads=options.cores)
        row["all_cores"] = {"per_second": case.column_steps / seconds}
    if card is not None:
        from ldas.landmodel.gpu.cuda_device import first_card

        device = first_card()
        on_card, first = case.run(output, device="gpu")
        row["first_call_s"] = first
        row["gpu"] = rate(case, output, options.repeats, device="gpu")
        row["shares_s"] = shares(case, output, device, device.synchronise)
        row["kernel_per_second"] = case.column_steps / row["shares_s"]["kernel"]
        if on_processor is not None:
            row["largest_difference"] = differences(on_processor, on_card)
        for name in ("one_core", "all_cores"):
            if name in row:
                row[f"times_{name}"] = row["gpu"]["per_second"] / row[name]["per_second"]
    return row


def plans(counts: Iterable[int], with_members: int) -> list[dict[str, Any]]:
    """What is measured: every count with snow and daily output; the others, and nine members, at one count."""
    counts = sorted(counts)
    table = [
        {"columns": count, "start": start, "members": 1, "daily_output": output}
        for start, output in (("snow", True), ("snow", False), ("bare", True))
        for count in counts
    ]
    return [*table, {"columns": with_members, "start": "snow", "members": MEMBERS, "daily_output": True}]


def line(row: dict[str, Any]) -> str:
    """A row for people: rates in millions of column-steps per second."""
    what = f"{row['columns']:>9,} columns, {row['start']}, {row['members']} member(s)"
    what += ", daily output" if row["daily_output"] else ""
    parts = [row["left_out"]] if "left_out" in row else []
    parts += [f"{name} {row[name]['per_second'] / 1e6:.3f}" for name in ("one_core", "all_cores", "gpu") if name in row]
    if "shares_s" in row:
        whole = row["shares_s"]["whole"]
        parts += [f"{name} {100.0 * row['shares_s'][name] / whole:.0f} %" for name in ("kernel", "transfer", "host")]
    return f"{what}: {'; '.join(parts)}"


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--columns", type=int, nargs="+")
    parser.add_argument("--with-members", type=int, default=WITH_MEMBERS, help="columns that run with nine members")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one-core-rows", type=int, default=100_000, help="most columns x members on one core")
    parser.add_argument("--all-cores-rows", type=int, default=2_000_000, help="... and on all cores")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cpu-only", action="store_true", help="the processor's part alone")
    parser.add_argument("--host-only", action="store_true", help="the host's processor time of a run on a card alone")
    options = parser.parse_args(arguments)
    if options.host_only:
        rows = host_only(Pool(), options.columns or HOST_COUNTS, options.repeats)
        if options.json:
            options.json.write_text(json.dumps({"rows": rows}, indent=1))
        return 0
    card = None
    if not options.cpu_only:
        try:
            card = find_card()
        except CardError as missing:
            print(f"error: {missing} (--cpu-only measures the processor alone)", file=sys.stderr)
            return 2
    pool = Pool()
    result: dict[str, Any] = {
        "card": None if card is None else str(card), "cores": options.cores, "forcing": pool.name,
        "snow_share": pool.snow_share, "rows": [],
    }  # fmt: skip
    print(f"{card or 'no card'}; {options.cores} cores; {pool.name}; million column-steps per second", flush=True)
    for plan in plans(options.columns or COUNTS, options.with_members):
        try:
            row = measured(pool, plan, card, options)
        except (LandModelError, MemoryError) as error:
            row = {**plan, "left_out": f"{type(error).__name__}: {error}"}
        result["rows"].append(row)
        print(line(row), flush=True)
        if options.json:
            options.json.write_text(json.dumps(result, indent=1))  # what is there is kept, whatever comes after
    first = [row for row in result["rows"] if row["start"] == "snow" and row["daily_output"] and row["members"] == 1]
    result["crossing_columns"] = {against: crossing(first, against) for against in ("one_core", "all_cores")}
    if card is not None:
        print(f"columns at which the card overtakes: {result['crossing_columns']}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
