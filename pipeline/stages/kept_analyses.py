"""Analyses that an assimilation keeps as restarts because forecasts start from them.

An attribute of the run's group lists those that it has been asked to keep, so that one that is asked for later is known
to be missing.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import zarr

from ldas.landmodel.array_types import Days
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.labels import instants
from ldas.pipeline.store.arrays import existing_group

KEPT = "analyses_kept"


def wanted(config: ExperimentConfig, run: str, windows: Days) -> list[np.datetime64]:
    """Instants of the analyses of a run that forecasts may start from, in their order.

    Args:
        windows: (window,) days of all analyses.
    """
    days = windows.astype("datetime64[D]")
    of_run = [entry.analyses(days) for entry in config.forecasts if entry.from_run == run]
    return list(instants(np.unique(np.concatenate(of_run)), config.model.analysis_hour_utc)) if of_run else []


def noted(root: zarr.Group, group: str) -> set[np.datetime64]:
    """Instants whose analyses a run keeps."""
    stored: Any = existing_group(root, group).attrs.get(KEPT, [])
    return {np.datetime64(instant, "s") for instant in stored}


def note(root: zarr.Group, group: str, kept: Iterable[np.datetime64]) -> None:
    """Notes that the restarts of these instants are there."""
    existing_group(root, group).attrs[KEPT] = [str(instant) for instant in sorted(kept)]
