"""A check of tables with several rows a day: what changes once a day must be the same in all rows of a day."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

# ISBA-A-gs updates leaf area and the pools of biomass once a day, in the first step after 00 UTC; the ASCAT products
# give slope and curvature (and their noise) by day. Moisture, temperature, fluxes and FAPAR follow the hour.
_ONCE_A_DAY = re.compile(r"(LAI|BIOMA(SS)?\d*)(_ISBA)?|(slope?|curv(ature)?)(_noise)?")
_DAY = "datetime64[D]"


def changes_once_a_day(name: str) -> bool:
    """Whether a column of that name has one value a day: LAI and biomass of ISBA, slope and curvature of ASCAT."""
    return _ONCE_A_DAY.fullmatch(name) is not None


def warnings_of_table(columns: Mapping[str, npt.NDArray[Any]], times: npt.NDArray[np.datetime64]) -> tuple[str, ...]:
    """A warning, with numbers, if a variable that changes once a day differs between two rows of a day; else nothing.

    The spread of a day is the standard deviation of its rows; its mean over the days is given relative to that of all
    rows.

    Args:
        columns: (row,) values by name, of which those with one value a day are looked at.
        times: (row,) UTC.
    """
    days = times.astype(_DAY)
    # An instant at 00 UTC still has the vegetation of the day before, unless the table has dates without hours.
    whole = days == times
    counted = np.ones(times.shape, dtype=bool) if whole.all() else ~whole
    found = {}
    for name in filter(changes_once_a_day, columns):
        values = pd.Series(np.asarray(columns[name], dtype=np.float64)[counted])
        rows = values.groupby(days[counted].astype("datetime64[s]"))
        several = rows.count() > 1
        different = int((rows.max() > rows.min()).sum())
        if different:
            spread = rows.std()[several].mean() / values.std()
            found[name] = f"{name} on {different} of {int(several.sum())} days by {spread:.3f}"
    if not found:
        return ()
    return (
        "warning: variables that change once a day differ between the rows of a day (mean spread within a day relative "
        f"to the spread of the series): {', '.join(found.values())}. The table was altered (noise on every row), "
        "interpolated in time, or paired with states of another day: take no score from it as real before you know",
    )
