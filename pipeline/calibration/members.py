"""Runs of one site with many sets of parameters: members as columns of the land model."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ldas import landmodel
from ldas.landmodel.array_types import Array
from ldas.landmodel.parameters import override_value
from ldas.pipeline import registry
from ldas.pipeline.calibration.case import CalibrationCase
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.forcing.read import TimedForcing
from ldas.pipeline.site.case import SECONDS_PER_DAY, SiteCase
from ldas.pipeline.site.columns import prepare_members, site_forcing

SPIN_UP_DAYS = 365
DERIVED = {"NEE": ("RECO", "GPP")}
"""Differences of two outputs of the land model."""
# Parameters that a physical limit ties to each other: all their bounds must fit together.
_TOGETHER = (("WWILT", "WFC", "WSAT"), ("CE_NITRO", "CF_NITRO", "CNA_NITRO"), ("DG2", "DROOT"))


def run_members(
    site: SiteCase, members: Sequence[Mapping[str, float]], variables: Sequence[str], spin_up_repetitions: int
) -> dict[str, Array]:
    """Daily means of variables, (day, member), of the site with the parameters of each member.

    A member whose state does not stay finite has NaN from there on; the others do not notice.
    """
    run = prepare_members(site, site_forcing(site), members)
    needed = {name for variable in variables for name in DERIVED.get(variable, (registry.base_name(variable),))}
    request = landmodel.OutputRequest(mean=sorted(needed), interval_s=SECONDS_PER_DAY)
    before = min(SPIN_UP_DAYS, site.days)
    nothing = landmodel.OutputRequest(interval_s=SECONDS_PER_DAY)
    for _ in range(spin_up_repetitions):
        *_, last = run.segments(nothing, [before], allow_nonfinite=True)
        run = run._replace(state=last.state)
    pieces = [segment.outputs for segment in run.segments(request, [site.days], allow_nonfinite=True)]
    outputs = {name: np.concatenate([piece[name] for piece in pieces]) for name in needed}
    shares = np.array(list(site.fractions.values()))
    return {variable: _site_mean(_series(variable, outputs), shares) for variable in variables}


def _series(variable: str, outputs: Mapping[str, Array]) -> Array:
    """A variable of every column, (day, column)."""
    if variable in DERIVED:
        plus, minus = DERIVED[variable]
        return outputs[plus] - outputs[minus]
    layer = registry.variable(variable).layer
    values = outputs[registry.base_name(variable)]
    return values if layer is None else values[..., layer - 1]


def _site_mean(columns: Array, shares: Array) -> Array:
    """(day, member) from (day, member x type): types that a variable does not have count 0, as in SURFEX."""
    by_type = columns.reshape(len(columns), -1, len(shares))
    if len(shares) == 1:
        return by_type[..., 0]
    total = np.zeros(by_type.shape[:2])
    for number, share in enumerate(shares):
        total += share * np.nan_to_num(by_type[..., number], nan=0.0)
    return np.where(np.isnan(by_type).all(axis=-1), np.nan, total)


def site_values(case: CalibrationCase, site: SiteCase, forcing: TimedForcing) -> dict[str, float]:
    """The value that each parameter has at the site without calibration; of several vegetation types, the first."""
    run = prepare_members(site, forcing, [{}])
    vegetation = next(iter(site.fractions))
    given = site.settings(vegetation).parameters
    values = {}
    for name in case.parameters:
        own = given.get(name)
        values[name] = (
            float(own) if isinstance(own, int | float) else override_value(name, run.parameters, 0, vegetation)
        )
    return values


def check_corners(case: CalibrationCase, site: SiteCase, forcing: TimedForcing) -> None:
    """Refuses bounds within which the site has no parameters or no initial state.

    Each parameter at both of its bounds, and those that a physical limit ties to each other in all combinations.

    Raises:
        ConfigurationError: naming the values.
    """
    groups = [tuple(name for name in group if name in case.parameters) for group in _TOGETHER]
    groups += [(name,) for name in case.parameters if not any(name in group for group in _TOGETHER)]
    for group in filter(None, groups):
        bounds = [(case.parameters[name].low, case.parameters[name].high) for name in group]
        for corner in itertools.product(*bounds):
            values = dict(zip(group, corner, strict=True))
            try:
                prepare_members(site, forcing, [values])
            except (ConfigurationError, landmodel.LandModelError) as error:
                chosen = ", ".join(f"{name} = {value:g}" for name, value in values.items())
                raise ConfigurationError(
                    f"parameters: the bounds allow {chosen}, which is not possible here: {error}; narrow the bounds"
                ) from error
