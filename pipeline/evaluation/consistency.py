"""Whether a filter is consistent with its own errors: statistics of the innovations of each cell."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from ldas.assim.diagnostics import (
    LAGS,
    QUINTILES,
    chi_square_ratio,
    desroziers,
    innovation_statistics,
    lag_correlations,
    mean_degrees_of_freedom,
    spread_and_skill,
)
from ldas.landmodel.array_types import Array, Days, IntArray
from ldas.pipeline.evaluation.metrics import MINIMUM_PAIRS_R, SEASONS
from ldas.pipeline.evaluation.plan import Experiment


def consistency(stored: Callable[[str], Array], experiment: Experiment, time: Days) -> dict[str, xr.Dataset]:
    """Groups of scores `innovations_<experiment>_<observation>` and `consistency_<experiment>`, as far as the run
    stores what they follow from.

    Args:
        stored: a variable of the run by its name, (day, cell), or (day and overpass, cell) one after the other.
        experiment: the run.
        time: of the days.
    """
    names = experiment.assimilated
    residuals = {name: stored(f"linear_residual_{name}") for name in names if _has(experiment, "linear_residual", name)}
    counts = [np.isfinite(one).reshape(len(time), -1, one.shape[1]).sum(axis=1) for one in residuals.values()]
    used = np.sum(counts, axis=0) if counts else None
    chi_square = stored("chi_square") if "chi_square" in experiment.variables and used is not None else None
    found = {}
    for name in names:
        innovation = stored(f"innovation_{name}")
        scores = _of_innovations(innovation)
        if name in residuals:
            variances = desroziers(innovation, residuals[name])
            scores["observation_variance"] = ("cell", variances.observation)
            scores["background_variance"] = ("cell", variances.background)
        if name in residuals and _has(experiment, "dfs", name):
            freedom, here = stored(f"dfs_{name}"), np.isfinite(residuals[name])
            scores["used"] = ("cell", here.sum(axis=0).astype(np.float64))
            scores["influence"] = ("cell", mean_degrees_of_freedom(freedom, here))
            if chi_square is not None and used is not None:
                overpasses = len(innovation) // len(time)
                alone = here & np.repeat(used == 1, overpasses, axis=0)
                expected = spread_and_skill(
                    np.where(alone, innovation, np.nan), np.repeat(chi_square, overpasses, axis=0), freedom
                )
                for part in ("spread", "skill"):
                    scores[part] = ("cell", getattr(expected, part))
                for part in ("expected", "found"):
                    scores[part] = (("quintile", "cell"), getattr(expected, part))
        if _has(experiment, "bounded", name):
            scores["bounded_days"] = ("cell", (stored(f"bounded_{name}") > 0.0).sum(axis=0).astype(np.float64))
        found[f"innovations_{experiment.name}_{name}"] = scores
    if chi_square is not None and used is not None:
        found[f"consistency_{experiment.name}"] = _of_chi_square(chi_square, used, time)
    return found


def _has(experiment: Experiment, family: str, observation: str) -> bool:
    return f"{family}_{observation}" in experiment.variables


def _of_innovations(innovation: Array) -> xr.Dataset:
    found = innovation_statistics(innovation)
    scores = xr.Dataset(
        {
            part: ("cell", np.asarray(getattr(found, part), dtype=np.float64))
            for part in ("number", "mean", "standard_deviation")
        },
        coords={"lag": np.arange(1, LAGS + 1), "quintile": np.arange(1, QUINTILES + 1)},
    )
    lagged = np.where(found.number >= MINIMUM_PAIRS_R, lag_correlations(innovation), np.nan)
    scores["lag_correlation"] = (("lag", "cell"), lagged)
    scores["lag_one_correlation"] = ("cell", lagged[0])  # one number a cell: `ldas explore` draws its map
    return scores


def _of_chi_square(chi_square: Array, used: IntArray, time: Days) -> xr.Dataset:
    season = (time.astype("datetime64[M]").astype(np.int64) + 1) % 12 // 3  # months from January 1970
    by_season = [
        chi_square_ratio(np.where((season == place)[:, None], chi_square, np.nan), used)
        for place in range(len(SEASONS))
    ]
    return xr.Dataset(
        {
            "chi_square": ("cell", chi_square_ratio(chi_square, used)),
            "chi_square_season": (("season", "cell"), np.stack(by_season)),
        }
    )
