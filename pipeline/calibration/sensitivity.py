"""Whether each parameter has an effect on the observations, found out before the long run: one at a time."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ldas.landmodel.array_types import Array
from ldas.pipeline.calibration.members import run_members
from ldas.pipeline.calibration.observations import within
from ldas.pipeline.calibration.rounds import Calibration
from ldas.pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from distributed import Client

LEAST_EFFECT = 0.01
"""In units of the observation error: what changes the predictions by less cannot be calibrated."""
# Parameters that act with an option of the land model only.
_NEEDS = {"RE25": "options.soil_respiration: PRM", "RUNOFFD": "options.runoff: DT92 or options.horton: true"}


def sensitivity(calibration: Calibration, client: "Client") -> xr.Dataset:
    """Change of the predictions between the bounds of each parameter, the others at their values of the site.

    Returns:
        `effect` (parameter, variable): root mean square over the calibration's observations, in units of their error,
        the largest between the bounds and the median of the prior.

    Raises:
        ConfigurationError: naming every parameter whose effect on all variables is at most `LEAST_EFFECT`.
    """
    case, names = calibration.case, list(calibration.priors)
    members = [
        {name: value}
        for name, prior in calibration.priors.items()
        for value in (prior.low, float(prior.values(np.zeros(1))[0]), prior.high)
    ]
    predicted = _run(calibration, members, client)
    window = within(calibration.days, case.calibration)
    effect = np.zeros((len(names), len(calibration.observed)))
    for column, series in enumerate(calibration.observed):
        used = series.used(window)
        scaled = predicted[series.variable][used] / series.error[used, None]
        for row in range(len(names)):
            effect[row, column] = largest_change(*scaled[:, 3 * row : 3 * row + 3].T)
    idle = [name for name, most in zip(names, effect.max(axis=1), strict=True) if not most > LEAST_EFFECT]
    if idle:
        told = [f"{name} ({_NEEDS[name]} is needed)" if name in _NEEDS else name for name in idle]
        raise ConfigurationError(
            f"parameters: {', '.join(told)}: without effect between the bounds: {', '.join(case.variables)} change by "
            f"less than {LEAST_EFFECT:g} of their errors; leave out what has none, or add observations that it changes"
        )
    return xr.Dataset(
        {"effect": (("parameter", "variable"), effect, {"units": "1", "long_name": "effect between the bounds"})},
        coords={"parameter_name": ("parameter", names), "variable_name": ("variable", list(case.variables))},
        attrs=calibration.attributes(),
    )


def largest_change(low: Array, middle: Array, high: Array) -> float:
    """Largest root mean square difference of three runs (observation,); NaN where fewer than two stayed finite."""
    changes = (float(np.sqrt(np.mean(change**2))) for change in (high - low, high - middle, middle - low))
    return max((change for change in changes if np.isfinite(change)), default=float("nan"))


def _run(calibration: Calibration, members: Sequence[Mapping[str, float]], client: "Client") -> dict[str, Array]:
    """Daily predictions (day, member), in batches on the cluster."""
    case = calibration.case
    size = case.execution.members_per_batch
    batches = [members[first : first + size] for first in range(0, len(members), size)]
    pieces = client.gather(
        [
            client.submit(run_members, calibration.site, batch, case.variables, case.spin_up_repetitions, pure=False)
            for batch in batches
        ]
    )
    return {name: np.concatenate([piece[name] for piece in pieces], axis=1) for name in case.variables}
