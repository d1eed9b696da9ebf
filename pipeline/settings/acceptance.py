"""Checks of plausibility that a file may accept: `accept: [night_shortwave]`.

Real data do not always pass a check that finds a wrong clock or unit in most. The key is the same in an experiment file
(for the store's land and forcing, and for what a run resumes), a site file and the configuration of an ingestion, each
for its own source; what was accepted is kept in the store and shown in the report. What the model cannot be run with
cannot be accepted.
"""

from collections.abc import Collection
from typing import Literal, get_args

ForcingCheck = Literal["night_shortwave", "supersaturation", "range", "negative_values"]
CellCheck = Literal["cells_without_land", "gap"]
RunCheck = Literal["other_device"]
InputCheck = Literal[ForcingCheck, CellCheck, RunCheck]
FORCING_CHECKS: tuple[ForcingCheck, ...] = get_args(ForcingCheck)
CELL_CHECKS: tuple[CellCheck, ...] = get_args(CellCheck)  # a run sets these cells aside, accepted or not

ACCEPTED = "accepted_checks"  # attribute of what was computed: the names of the checks

MEANING: dict[str, str] = {
    "night_shortwave": "shortwave radiation with the sun below the horizon",
    "supersaturation": "air with more vapour than at saturation",
    "range": "values outside the usual range of their variable",
    "negative_values": "shortwave radiation down to -20 W m-2, rain and snow down to -1e-5 kg m-2 s-1, taken as 0",
    "cells_without_land": "cells without land, or with undefined or impossible land: they are set aside",
    "other_device": "what the other device, processor or GPU, has computed of a run: its last digits differ",
    "gap": "cells with undefined forcing: they are set aside from the period of the gap on",
}


def way_on(names: Collection[str]) -> str:
    """How to use data that did not pass these checks."""
    listed = ", ".join(name for name in MEANING if name in names)
    if set(names) <= set(CELL_CHECKS):
        return f"`accept: [{listed}]` in the configuration runs the other cells."
    return f"Where the data are right all the same, `accept: [{listed}]` in the configuration uses them as they are."
