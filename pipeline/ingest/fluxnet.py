"""FLUXNET daily and monthly tables: FLUXNET2015, ICOS and FluxDataKit, in SI units."""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from ldas.landmodel.array_types import Array
from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing import physics

NODATA = -9999
MONTHLY = "a monthly table cannot be disaggregated to hours, nor compared by day; give the daily (DD) table"

# name here -> (columns, factor, offset, unit); required unless in OPTIONAL_FORCING. Columns: first those of FLUXNET2015
# and of the ICOS products, gap-filled from measurements and reanalysis (`_F`), then those of FluxDataKit. The first
# that is there is used.
DAILY_FORCING: dict[str, tuple[tuple[str, ...], float, float, str]] = {
    "temperature": (("TA_F", "TA_F_MDS"), 1.0, physics.CELSIUS_ZERO, "K"),
    "temperature_min": (("TMIN_F_MDS",), 1.0, physics.CELSIUS_ZERO, "K"),
    "temperature_max": (("TMAX_F_MDS",), 1.0, physics.CELSIUS_ZERO, "K"),
    "temperature_daytime": (("TA_F_DAY", "TA_F_MDS_DAY", "TA_DAY_F_MDS"), 1.0, physics.CELSIUS_ZERO, "K"),
    "shortwave": (("SW_IN_F", "SW_IN_F_MDS"), 1.0, 0.0, "W m-2"),
    "longwave": (("LW_IN_F", "LW_IN_F_MDS"), 1.0, 0.0, "W m-2"),
    "vapour_pressure_deficit": (("VPD_F", "VPD_F_MDS"), 100.0, 0.0, "Pa"),
    "wind": (("WS_F",), 1.0, 0.0, "m s-1"),
    "pressure": (("PA_F",), 1000.0, 0.0, "Pa"),
    "precipitation": (("P_F",), 1.0, 0.0, "kg m-2 d-1"),
    "co2": (("CO2_F_MDS",), 1.0, 0.0, "ppm"),
}
OPTIONAL_FORCING = ("temperature_min", "temperature_max", "temperature_daytime", "co2")

# gC m-2 d-1 -> kg CO2 m-2 s-1
_CARBON = 1e-3 * physics.MOLAR_MASS_CO2 / physics.MOLAR_MASS_CARBON / physics.SECONDS_PER_DAY

# name here -> (FLUXNET column, factor, unit, quality column or None); any may be absent from a file.
OBSERVED = {
    "LAI": ("LAI", 1.0, "m2 m-2", None),
    "GPP": ("GPP_NT_VUT_REF", _CARBON, "kg CO2 m-2 s-1", "NEE_VUT_REF_QC"),
    "GPP_DT": ("GPP_DT_VUT_REF", _CARBON, "kg CO2 m-2 s-1", "NEE_VUT_REF_QC"),
    "RECO": ("RECO_NT_VUT_REF", _CARBON, "kg CO2 m-2 s-1", "NEE_VUT_REF_QC"),
    "NEE": ("NEE_VUT_REF", _CARBON, "kg CO2 m-2 s-1", "NEE_VUT_REF_QC"),
    "LE": ("LE_F_MDS", 1.0, "W m-2", "LE_F_MDS_QC"),
    "H": ("H_F_MDS", 1.0, "W m-2", "H_F_MDS_QC"),
    "LE_CORR": ("LE_CORR", 1.0, "W m-2", "LE_CORR_QC"),
    "H_CORR": ("H_CORR", 1.0, "W m-2", "H_CORR_QC"),
    "RN": ("NETRAD", 1.0, "W m-2", "NETRAD_QC"),
}


def read_table(path: Path) -> pd.DataFrame:
    """The whole FLUXNET table, indexed by date, missing values (-9999, NA) as NaN.

    Raises:
        IngestError: not a FLUXNET table; dates duplicated, out of order or unreadable.
    """
    try:
        table = pd.read_csv(path, na_values=["NA", "-9999", "-9999.0"], dtype={"TIMESTAMP": str})
    except (OSError, ValueError) as error:
        raise IngestError(
            f"{path}: no FLUXNET table (comma separated, first line names): {files.beginning(path)} ({error})"
        ) from error
    if "TIMESTAMP" not in table:
        raise IngestError(
            f"{path}: no column TIMESTAMP, so this is not a FLUXNET daily or monthly table: {files.beginning(path)}"
        )
    stamps = table["TIMESTAMP"].fillna("")
    monthly = bool(len(stamps)) and bool(stamps.str.fullmatch(r"\d{6}").all())
    if not monthly and not (len(stamps) and stamps.str.fullmatch(r"\d{4}-\d{2}-\d{2}|\d{8}").all()):
        raise IngestError(
            f"{path}: TIMESTAMP must be a day (YYYY-MM-DD or YYYYMMDD) or a month (YYYYMM) in every row, "
            f"first value {stamps.iloc[0] if len(stamps) else '(no row)'!r}"
        )
    form, expected = ("%Y%m", "YYYYMM") if monthly else ("%Y%m%d", "YYYYMMDD")
    table.index = files.dates_of(stamps.str.replace("-", ""), form, expected, f"{path}: TIMESTAMP").rename("time")
    if not table.index.is_monotonic_increasing or table.index.has_duplicates:
        steps = np.diff(table.index.to_numpy())
        first = table.index[1:][steps <= np.timedelta64(0, "ns")][0]
        raise IngestError(f"{path}: dates must increase; {first:%Y-%m-%d} is repeated or out of order")
    table.attrs["monthly"] = monthly
    return table.drop(columns="TIMESTAMP").replace(NODATA, np.nan)


def read_daily_forcing(path: Path, max_gap_days: int = 0) -> xr.Dataset:
    """Daily forcing of a FLUXNET daily table in SI units, dimension `time` (local days).

    Args:
        max_gap_days: missing values are interpolated linearly over at most this many days in a row (precipitation,
            which is not a continuous quantity, is never interpolated).

    Raises:
        IngestError: a column, a day or a value missing: the message names column and first day.
    """
    table = read_table(path)
    if table.attrs["monthly"]:
        raise IngestError(f"{path}: {MONTHLY}")
    calendar = pd.date_range(table.index[0], table.index[-1], freq="D")
    absent = calendar[~calendar.isin(table.index)]
    if len(absent):
        raise IngestError(
            f"{path}: {len(absent)} days are missing, the first {absent[0]:%Y-%m-%d}; a daily record must be complete"
        )
    variables: dict[str, tuple[str, Array, dict[str, str]]] = {}
    for name, (columns, factor, offset, unit) in DAILY_FORCING.items():
        column = next((item for item in columns if item in table and not table[item].isna().all()), None)
        if column is None:
            if name in OPTIONAL_FORCING:
                continue
            raise IngestError(f"{path}: column {' or '.join(columns)} ({name}) is missing and is needed")
        values = table[column].astype(float)
        if max_gap_days and name != "precipitation":
            values = _interpolate_gaps(values, max_gap_days)
        missing = values.isna()
        if missing.any() and not name.startswith("temperature_"):
            raise IngestError(
                f"{path}: {column} is missing on {int(missing.sum())} of {len(values)} days, the first "
                f"{values.index[missing.to_numpy()][0]:%Y-%m-%d}; fill it or raise max_gap_days ({max_gap_days})"
            )
        in_si = np.asarray(values.to_numpy() * factor + offset, dtype=np.float64)
        variables[name] = ("time", in_si, {"units": unit, "source_column": column})
    return xr.Dataset(variables, coords={"time": table.index.to_numpy()}, attrs={"source_file": Path(path).name})


def _interpolate_gaps(values: pd.Series, longest: int) -> pd.Series:
    """Linear interpolation over gaps of at most `longest` missing values; longer gaps stay missing as a whole."""
    missing = values.isna()
    run = missing.ne(missing.shift()).cumsum()
    length = missing.groupby(run).transform("sum")
    filled = values.interpolate(limit_area="inside")
    return values.where(~(missing & (length <= longest)), filled)


def read_observations(path: Path) -> xr.Dataset:
    """Observed LAI, carbon and energy fluxes of a FLUXNET daily or monthly table, in the model's units.

    GPP, RECO and NEE become kg CO2 m-2 s-1 (GPP and RECO by the night-time method; `GPP_DT` by the daytime method),
    LE, H, RN W m-2, LAI m2 m-2. `<name>_quality` is the part of the day that was measured or well gap-filled, 0..1.
    `LE_CORR`, `H_CORR` are the series with the energy balance closed. Dates are local standard time; a variable the
    file lacks is absent, a missing value is NaN.
    """
    table = read_table(path)
    dataset = xr.Dataset(coords={"time": table.index.to_numpy()})
    for name, (column, factor, unit, quality) in OBSERVED.items():
        if column not in table:
            continue
        values = table[column].to_numpy(dtype=np.float64) * factor
        dataset[name] = ("time", values, {"units": unit, "source_column": column})
        if quality is not None and quality in table:
            part = table[quality].to_numpy(dtype=np.float64)
            dataset[f"{name}_quality"] = ("time", part, {"units": "1", "source_column": quality})
    if not dataset.data_vars:
        raise IngestError(f"{path}: none of the columns {[entry[0] for entry in OBSERVED.values()]} is in the file")
    dataset.attrs.update(source_file=Path(path).name, averaging="month" if table.attrs["monthly"] else "day")
    return dataset
