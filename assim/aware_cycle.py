"""One cycle of any filter with the bias of its observations and the scales of its errors estimated along with it.

The filter gets y with b, and (r R + n (P + Q)) / s, n observations of a type sharing its bias: its gain follows from
the ratio of the variances alone, so that the scale s of its background error need not be known to it. The variances
that it returns are multiplied by s afterwards. `error_estimation` has the equations.
"""

from collections.abc import Mapping

import numpy as np

from ldas.assim.error_estimation import (
    AdaptiveErrors,
    BiasOptions,
    Departures,
    Estimates,
    Memory,
    bias_change,
    estimates,
    remembered,
    with_change,
)
from ldas.assim.filter import CycleResult, Filter, LandModel, Window
from ldas.assim.observations import WindowObservations
from ldas.assim.quality import Quality
from ldas.landmodel import OutputRequest, State
from ldas.landmodel.array_types import Array, BoolArray


def aware_cycle(
    method: Filter,
    memory: Memory,
    bias: BiasOptions | None,
    errors: AdaptiveErrors | None,
    model: LandModel,
    state: State,
    window: Window,
    observations: Mapping[str, WindowObservations],
    *,
    output: OutputRequest | None = None,
    set_aside: BoolArray | None = None,
) -> tuple[CycleResult, Memory, Estimates]:
    """`Filter.cycle` with estimated errors: its result, the memory after it, and the estimates that it used.

    Args:
        method: the filter.
        memory: of the windows before, from `no_memory` or the last call.
        bias: options of the bias; None: none is estimated.
        errors: options of the scales; None: none is estimated.
        model, state, window, observations, output, set_aside: see `Filter.cycle`; observations of every type.

    Returns:
        In the result, observations and innovations are without the bias, and variances and chi-square as estimated.
    """
    names = [kind.name for kind in method.observation_types]
    now = estimates(memory, bias, errors, [observations[name].open_loop_departure is not None for name in names])
    given = {name: _corrected(observations[name], now, place) for place, name in enumerate(names)}
    result = method.cycle(model, state, window, given, output=output, set_aside=set_aside)
    scale = now.b_scale[:, None]
    scaled = result._replace(
        observation_variance=result.observation_variance * scale,
        background_variance=result.background_variance * scale,
        chi_square=result.chi_square / now.b_scale,
    )
    after = _learned(memory, now, scaled, [given[name] for name in names], bias, errors)
    return scaled, after, now


def _number(given: WindowObservations) -> Array:
    """How many observations of a type each cell has, (cell,)."""
    there = np.isfinite(given.value)
    return np.asarray(there.astype(np.float64) if there.ndim == 1 else there.sum(axis=1), dtype=np.float64)


def _corrected(given: WindowObservations, now: Estimates, place: int) -> WindowObservations:
    """The observations of a type as the filter gets them."""
    each = (slice(None),) if given.time is None else (slice(None), None)
    variance = _number(given) * now.bias_variance[:, place] / now.b_scale
    return given._replace(
        bias=np.broadcast_to(now.bias[:, place][each], given.value.shape),
        error_scale=np.broadcast_to((now.r_scale[:, place] / now.b_scale)[each], given.value.shape),
        bias_variance=np.broadcast_to(variance[each], given.value.shape),
    )


def _learned(
    memory: Memory,
    now: Estimates,
    result: CycleResult,
    given: list[WindowObservations],
    bias: BiasOptions | None,
    errors: AdaptiveErrors | None,
) -> Memory:
    """The memory after a window, from its scaled result."""
    used = result.quality == Quality.USED
    shape = memory.lasting.shape
    change, limit, variance = np.zeros(shape), memory.limit.copy(), now.bias_variance
    overpasses, begin = max(one.rows for one in given), 0
    values, there = np.zeros((5, overpasses, *shape)), np.zeros((overpasses, *shape), dtype=bool)
    departure = np.full(there.shape, np.nan)
    for place, one in enumerate(given):
        rows = slice(begin, begin + one.rows)
        begin += one.rows
        scaled = result.observation_variance[:, rows] - (_number(one) * variance[:, place])[:, None]  # r R
        prescribed, residuals = scaled / now.r_scale[:, place, None], result.linear_residual[:, rows]
        change[:, place] = bias_change(variance[:, place], residuals, scaled, used[:, rows])
        if bias is not None:
            largest = bias.limit * np.sqrt(np.where(used[:, rows], prescribed, 0.0).max(axis=1))
            limit[:, place] = np.where(used[:, rows].any(axis=1), largest, limit[:, place])
        background = result.background_variance[:, rows]
        parts = (
            result.innovation[:, rows],
            residuals - change[:, place, None],
            prescribed,
            background / now.b_scale[:, None],
            result.observation_variance[:, rows] + background,
        )
        values[:, : one.rows, :, place] = np.stack(parts).swapaxes(1, 2)
        there[: one.rows, :, place] = used[:, rows].T
        if one.open_loop_departure is not None:
            departure[: one.rows, :, place] = one.open_loop_departure.reshape(shape[0], -1).T
    for number in range(overpasses):  # one after the other
        departures = Departures._make([*values[:, number], there[number], now.passing, departure[number]])
        memory = remembered(memory, departures, bias or BiasOptions(), errors or AdaptiveErrors())
    if bias is None:
        return memory
    counted = there & np.isfinite(departure)
    total = np.where(counted, departure, 0.0).sum(axis=0)
    mean = np.divide(total, counted.sum(axis=0), out=np.full(shape, np.nan), where=counted.any(axis=0))
    return with_change(memory, now, change, bias, limit, mean)
