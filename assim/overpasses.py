"""Rows of the analysis: each observation with the model step that it is compared with.

An observation without a time of its own is compared with the state at the window's end; an overpass with the state
after the model step nearest to it, which the land model puts out while it runs over the window. So is what it diagnoses
at 2 m, which no state has, also at the window's end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ldas.assim.controls import DIAGNOSED, ObservedState
from ldas.assim.errors import ObservationInputError
from ldas.assim.filter import WINDOW_S, Window
from ldas.assim.observations import ObservationType, WindowObservations
from ldas.assim.predictors import SCREEN_LEVEL
from ldas.landmodel import OutputRequest, State
from ldas.landmodel.array_types import Array, IntArray, Times

NAMES = ("TG", "WG", "WGI", "SNOW_SWE", "LAI")
"""Outputs of the land model that an `ObservedState` is always made of, in the order of its fields."""


class Row(NamedTuple):
    """One observation of each cell: its type, its values (cell,), and the model step (cell,) after which its
    equivalent is taken; None: the window's end. time: that of the equivalent (UTC), one or (cell,)."""

    kind: ObservationType
    given: WindowObservations
    step: IntArray | None
    time: Times | np.datetime64


def observation_rows(
    types: Sequence[ObservationType], observations: Mapping[str, WindowObservations], window: Window
) -> list[Row]:
    """The rows of a window: the types in their order, the overpasses of one type one after the other.

    Raises:
        ObservationInputError: an overpass that has no time, or one outside the window.
    """
    rows = []
    for kind in types:
        given = observations[kind.name]
        if given.time is None:
            last = np.full(given.value.shape, WINDOW_S // window.step_s) if _at_screen_level(kind) else None
            rows.append(Row(kind, given, last, window.end))
            continue
        # before the first step nothing is diagnosed
        steps = np.maximum(_steps(kind.name, given, window), 1 if _at_screen_level(kind) else 0)
        times = window.start + steps * np.timedelta64(window.step_s, "s")
        rows += [Row(kind, given.overpass(n), steps[:, n], times[:, n]) for n in range(given.rows)]
    return rows


def _at_screen_level(kind: ObservationType) -> bool:
    return not set(SCREEN_LEVEL).isdisjoint(kind.operator.predictor_names)


def nearest_steps(times: Times, start: np.datetime64, step_s: int) -> IntArray:
    """Number of the step after which the model is nearest to each time, from 0 at `start`; midway, the later one."""
    seconds = (np.asarray(times).astype("datetime64[s]") - start.astype("datetime64[s]")).astype(np.int64)
    return np.asarray((2 * seconds + step_s) // (2 * step_s))


def _steps(name: str, given: WindowObservations, window: Window) -> IntArray:
    """The steps (cell, overpass) of overpasses; the window's last where there is none, which is then not used."""
    times = np.asarray(given.time)
    there, outside = ~np.isnat(times), ~((times > window.start) & (times <= window.end))  # a NaT compares as False
    wrong = outside & (there | np.isfinite(given.value))
    if wrong.any():
        time = times[wrong][0]
        found = "without a time" if np.isnat(time) else f"at {time}"
        raise ObservationInputError(
            f"{name}: an overpass {found} in the window from {window.start} to {window.end}; it must lie inside, its "
            "end included"
        )
    last = WINDOW_S // window.step_s
    return np.where(there, nearest_steps(np.where(there, times, window.end), window.start, window.step_s), last)


def with_states(rows: Sequence[Row], cell: IntArray, output: OutputRequest | None) -> OutputRequest | None:
    """The request with the states that the rows are compared with; cell (column,): the cell of each column."""
    steps = [row.step for row in rows if row.step is not None]
    if not steps:
        return output
    request = output or OutputRequest(interval_s=WINDOW_S)
    asked_for = {name for row in rows for name in row.kind.operator.predictor_names}
    more = tuple(name for name in DIAGNOSED if name in asked_for)
    return replace(request, at=NAMES + more, at_steps=np.stack(steps, axis=1)[cell])


def states_of_rows(rows: Sequence[Row], end: State, outputs: Mapping[str, Array]) -> list[State | ObservedState]:
    """The state that each row is compared with: that of its step, or `end`. outputs: as `with_states` asked for."""
    states: list[State | ObservedState] = []
    place = 0
    for row in rows:
        if row.step is None:
            states.append(end)
        else:
            state = (outputs[f"{name}_at"][place] for name in NAMES)
            more = {field: outputs[f"{n}_at"][place] for n, field in DIAGNOSED.items() if f"{n}_at" in outputs}
            states.append(ObservedState(*state, **more))
            place += 1
    return states


def without_states(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs that the caller of a cycle asked for."""
    return {name: values for name, values in outputs.items() if not name.endswith("_at")}
