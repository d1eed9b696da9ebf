"""What a run puts out: which rows of a column, at which steps, and under which names."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ldas.landmodel import layout, quantities
from ldas.landmodel.array_types import Array, IntArray
from ldas.landmodel.constants import SOIL_LAYERS
from ldas.landmodel.errors import LandModelError
from ldas.landmodel.parameters import Parameters

STATE_NAMES = {q.surfex: q for q in quantities.STATE if q.surfex != "LE"}  # that of a step is put out as a flux
SURFACE_NAMES = {q.surfex: q.name for q in quantities.SURFACE}
OUTPUT_NAMES = (*STATE_NAMES, *SURFACE_NAMES, *layout.FLUXES)
"""Everything that can be put out, by SURFEX name."""
SCREEN_LEVEL = ("T2M", "Q2M", "HU2M")
"""Diagnosed at 2 m, where they are asked for."""


@dataclass(frozen=True)
class OutputRequest:
    """What `Isba.run` returns over time.

    `mean`: means over `interval_s`; `end`: values at the end of each interval; `instant`: values once per interval at
    `instant_hour` UTC (the end of the step that ends there). Names: `OUTPUT_NAMES`.

    `at`: names that are returned as `<name>_at` (place, column[, member][, layer]) after the steps `at_steps`
    (column, place), in any order: 0 is the start of the run, which has a state only, -1 stands for none (NaN there).
    """

    mean: Sequence[str] = ()
    end: Sequence[str] = ()
    instant: Sequence[str] = ()
    interval_s: float = 86400.0
    instant_hour: float = 0.0
    at: Sequence[str] = ()
    at_steps: IntArray | None = None


class Schedule:
    """Which rows are put out, when, and under which names."""

    def __init__(self, request: OutputRequest, start: np.datetime64, step_s: float, steps: int) -> None:
        self.names = (list(request.mean), list(request.end), list(request.instant))
        for names in self.names:
            _check_names(names, OUTPUT_NAMES)
        self.requested = any(self.names)
        self.steps = whole(request.interval_s / step_s, f"output interval {request.interval_s} s over step {step_s} s")
        self.count = steps // self.steps
        if self.requested and self.count * self.steps != steps:
            raise LandModelError(
                f"output interval: {steps} steps of {step_s} s are not whole intervals of {request.interval_s} s"
            )
        self.instant = self._instant_step(request, start, step_s) if request.instant else -1
        self.rows = tuple(
            np.array([row for name in names for row in _rows(name)], dtype=np.int64) for names in self.names
        )

    def _instant_step(self, request: OutputRequest, start: np.datetime64, step_s: float) -> int:
        if request.interval_s != 86400.0:
            raise LandModelError(f"instant outputs need interval_s=86400, got {request.interval_s}")
        since_midnight = (start - start.astype("datetime64[D]")).astype(np.int64)
        wait = (request.instant_hour * 3600.0 - float(since_midnight)) % 86400.0 or 86400.0
        return whole(wait / step_s, f"time to instant_hour={request.instant_hour} over step {step_s} s") - 1

    def allocate(self, rows: int) -> tuple[Array, Array, Array]:
        """Means, ends and instants (column x member, time, row), undefined; `rows`: columns times members."""
        count = self.count if self.requested else 0
        mean, end, instant = (np.full((rows, count, len(selected)), np.nan) for selected in self.rows)
        return mean, end, instant

    def times(self) -> tuple[int, int]:
        """Steps of an interval (0: nothing is put out), and which of them ends at the instant (-1: none)."""
        return self.steps if self.requested else 0, self.instant

    def named(self, results: tuple[Array, ...], leading: tuple[int, ...], parameters: Parameters) -> dict[str, Array]:
        """Output arrays (time, column[, member][, layer]) by name."""
        named: dict[str, Array] = {}
        for names, array in zip(self.names, results, strict=True):
            for name, values in _split(names, array, leading, parameters):
                key = name if name not in named else f"{name}_{'end' if names is self.names[1] else 'instant'}"
                named[key] = values
        return named


class Wanted:
    """What is put out after chosen steps of each column."""

    def __init__(self, request: OutputRequest, columns: int, steps: int) -> None:
        self.names = list(request.at)
        _check_names(self.names, OUTPUT_NAMES)
        given = np.zeros((columns, 0), dtype=np.int64) if request.at_steps is None else np.asarray(request.at_steps)
        if given.ndim != 2 or len(given) != columns or bool(self.names) != (request.at_steps is not None):
            raise LandModelError(
                f"at: expected names and at_steps of shape ({columns} columns, place), got {self.names} and shape "
                f"{given.shape}"
            )
        if given.size and not (given.min() >= -1 and given.max() <= steps):
            raise LandModelError(f"at_steps: expected -1 to {steps}, got {given.min()} to {given.max()}")
        later = np.where(given < 0, steps + 1, given).astype(np.int64)  # a step that is never reached
        self.order = np.argsort(later, axis=1, kind="stable")
        self.steps = np.ascontiguousarray(np.take_along_axis(later, self.order, axis=1))
        self.rows = np.array([row for name in self.names for row in _rows(name)], dtype=np.int64)

    def allocate(self, members: int) -> Array:
        """Values after chosen steps (column x member, place, row), undefined."""
        columns, places = self.steps.shape
        return np.full((columns * members, places, len(self.rows)), np.nan)

    def named(self, result: Array, leading: tuple[int, ...], parameters: Parameters) -> dict[str, Array]:
        """Arrays (place, column[, member][, layer]) by name, the places in the order in which they were asked for."""
        if not self.names:
            return {}
        members = len(result) // max(len(self.order), 1)  # there may be no column
        back = np.argsort(self.order, axis=1).repeat(members, axis=0)
        placed = np.take_along_axis(result, back[:, :, None], axis=1)
        return {f"{name}_at": values for name, values in _split(self.names, placed, leading, parameters)}


def _check_names(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise LandModelError(f"output {name!r} is not known{hint}; known are {', '.join(known)}")
    if len(set(names)) < len(names):
        raise LandModelError(f"output: expected every name once, got {', '.join(names)}")


def _split(
    names: Sequence[str], rows: Array, leading: tuple[int, ...], parameters: Parameters
) -> Iterator[tuple[str, Array]]:
    """Each name with its values (time, column[, member][, layer]) from rows (column x member, time, row)."""
    start = 0
    for name in names:
        count = len(_rows(name))
        values = np.swapaxes(rows[:, :, start : start + count], 0, 1)
        start += count
        shaped = values.reshape(len(values), *leading, count)
        if not _is_layered(name):
            shaped = shaped[..., 0]
        yield name, _undefined_as_nan(name, shaped, leading, parameters)


def _undefined_as_nan(name: str, values: Array, leading: tuple[int, ...], parameters: Parameters) -> Array:
    if name in ("WG", "WGI"):
        below = np.arange(SOIL_LAYERS)[None, :] >= parameters.moist_layers[:, None]
        return np.where(below if len(leading) == 1 else below[:, None, :], np.nan, values)
    if name == "LAI":
        bare = parameters.vegetated < 0.5
        return np.where(bare if len(leading) == 1 else bare[:, None], np.nan, values)
    if name == "SNOW_ALBEDO":
        return np.where(values > 0.0, values, np.nan)
    return values


def _rows(name: str) -> range:
    """Rows of an output in the sequence state, surface, fluxes."""
    if name in STATE_NAMES:
        return layout.STATE_ROWS[STATE_NAMES[name].name]
    if name in SURFACE_NAMES:
        first = layout.STATE_SIZE + layout.SURFACE.index(SURFACE_NAMES[name])
    else:
        first = layout.STATE_SIZE + len(layout.SURFACE) + layout.FLUXES.index(name)
    return range(first, first + 1)


def _is_layered(name: str) -> bool:
    return name in STATE_NAMES and STATE_NAMES[name].rows > 0


def whole(value: float, what: str) -> int:
    """The number, where it is whole and at least 1; else raises `LandModelError` with `what` it is."""
    if value < 1.0 - 1e-9 or abs(value - round(value)) > 1e-9:
        raise LandModelError(f"{what}: expected a whole number of at least 1, got {value!r}")
    return round(value)
