"""Files of reference outputs, read into one form: columns of values with the times they belong to."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ldas.landmodel.array_types import Array
from ldas.pipeline import files
from ldas.pipeline.errors import PipelineError
from ldas.pipeline.site.case import SECONDS_PER_DAY, SiteCase

# Reference name -> name of the registry; biomass pools have variables of their own in the reference.
NAMES: dict[str, tuple[str, int | None]] = {
    **{name: (name.upper(), None) for name in ("rn", "h", "le", "lei", "gflux", "leg", "legi", "lev", "ler", "letr")},
    **{name: (name.upper(), None) for name in ("les", "evap", "runoff", "drainage", "drip", "snowmelt", "gpp")},
    **{name: (name.upper(), None) for name in ("swup", "lwup", "cd", "ch", "ri", "halstead", "ts", "tsrad", "albedo")},
    **{name: (name.upper(), None) for name in ("swe", "snow_depth", "psn", "wr", "lai", "resa", "an", "anday", "anfm")},
    **{name: (name.upper(), None) for name in ("veg", "emis", "z0veg", "z0h", "tg", "wg", "wgi", "snow_albedo", "t2m")},
    **{name: (name.upper(), None) for name in ("snow_swe", "snow_rho", "snow_heat", "snow_age")},
    "z0_eff": ("Z0EFF", None),
    "r_auto": ("RESP_AUTO", None),
    "r_eco": ("RECO", None),
    "le_ags": ("LE", None),
    "lai_agg": ("LAI", None),
    "biomass_leaf": ("BIOMASS", 1),
    "biomass_struct_active": ("BIOMASS", 2),
    "biomass_struct_passive": ("BIOMASS", 3),
    "resp_struct_active_acc": ("RESP_BIOMASS", 1),
    "resp_struct_passive_acc": ("RESP_BIOMASS", 2),
}
_LAYERED = re.compile(r"^(tg|wg|wgi|snow_swe|snow_rho|snow_heat|snow_age)(\d+)$")
# Stored once a day only, as they are before the reset at midnight.
_END_OF_DAY = ("anday", "anfm", "resp_struct_active_acc", "resp_struct_passive_acc")
# Not the mean over the patches of a cell: the reference recomputes them from aggregated quantities.
_NOT_AGGREGATED = ("TSRAD", "Z0EFF", "Z0H")


@dataclass(frozen=True)
class ReferenceColumn:
    """One stored variable: values (time[, layer]), means over each period or values at its end."""

    name: str
    layer: int | None
    vegetation: str | None
    mean: bool
    values: Array


@dataclass(frozen=True)
class ReferenceTable:
    """The stored values of one file; `begins` and `ends` are seconds since the start of the run.

    `averages`: the file holds means and end values of long periods (days, months), not single steps.
    """

    period: str
    averages: bool
    begins: Array
    ends: Array
    columns: list[ReferenceColumn]


def read_table(kind: str, path: Path, case: SiteCase) -> ReferenceTable:
    """A file of one of the kinds `steps`, `daily` (NetCDF), `monthly` or a window of steps (CSV)."""
    return _read_netcdf(kind, path, case) if kind in ("steps", "daily") else _read_csv(kind, path, case)


def _read_netcdf(kind: str, path: Path, case: SiteCase) -> ReferenceTable:
    try:
        with files.open_netcdf(path) as opened:
            dataset = opened.load()
    except files.READING_ERRORS as error:
        raise PipelineError(f"{path}: the file is truncated or damaged: {error}") from error
    if "time" not in dataset.coords:
        raise PipelineError(f"{path}: there is no time coordinate")
    ends = (dataset["time"].values - case.start_time.astype("datetime64[ns]")) / np.timedelta64(1, "s")
    columns = []
    for variable, array in dataset.data_vars.items():
        name = str(variable)
        if kind == "daily" and name != "le" and f"{name}_end" in dataset:
            continue  # a state (LE is a flux that is also carried over): its value at the end of the day is compared
        is_end = kind == "daily" and (name.endswith("_end") or name in _END_OF_DAY)
        base = NAMES.get(name.removesuffix("_end") if is_end else name)
        if base is not None and array.dims[:1] == ("time",):
            values = np.asarray(array.values, dtype=np.float64)
            columns.append(ReferenceColumn(base[0], base[1], None, kind == "daily" and not is_end, values))
    begins = ends - SECONDS_PER_DAY if kind == "daily" else ends
    return ReferenceTable(kind, kind == "daily", begins, ends, columns)


def _read_csv(kind: str, path: Path, case: SiteCase) -> ReferenceTable:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    if len(rows) < 2 or "time_end_s" not in rows[0]:
        raise PipelineError(f"{path}: expected a table with the column time_end_s")
    table = {
        name: np.array([float(row[index]) if row[index] else np.nan for row in rows[1:]])
        for index, name in enumerate(rows[0])
    }
    types = {code.lower(): code for code in case.fractions} if len(case.fractions) > 1 else {}
    ends = table["time_end_s"]
    columns = []
    for name, values in table.items():
        base, mean = name, False
        if kind == "monthly":
            base, _, suffix = name.rpartition("_")
            mean = suffix == "mean"
        stem, _, last = base.rpartition("_")
        vegetation = types.get(last) if stem else None
        known = _known(stem if vegetation else base)
        if known is not None and not (types and known[0] in _NOT_AGGREGATED):
            columns.append(ReferenceColumn(known[0], known[1], vegetation, mean, values))
    begins = np.concatenate(([0.0], ends[:-1])) if kind == "monthly" else ends
    return ReferenceTable(kind, kind == "monthly", begins, ends, columns)


def _known(name: str) -> tuple[str, int | None] | None:
    match = _LAYERED.match(name)
    if match:
        return NAMES[match[1]][0], int(match[2])
    return NAMES.get(name)
