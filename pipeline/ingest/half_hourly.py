"""Half-hourly (or hourly) tables of FLUXNET2015 and of the ICOS ecosystem stations, which have the same columns.

Times are local standard time, `TIMESTAMP_START` and `TIMESTAMP_END` as YYYYMMDDHHMM; values are means over the
interval, precipitation (mm) its amount. A column `_F` was gap-filled by the producer, whose quality column says where:
0 is measured. What a table lacks is estimated (`place_record`).
"""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field

from ldas.landmodel.array_types import Array
from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing import physics
from ldas.pipeline.forcing.estimated import ESTIMATED
from ldas.pipeline.ingest.fluxnet import NODATA
from ldas.pipeline.ingest.place_record import Marks, PlaceConfig, completed
from ldas.pipeline.ingest.station import StationPlace, vapour_pressure

START, END = "TIMESTAMP_START", "TIMESTAMP_END"
# quantity -> (columns, the first that is there counts; factor; offset)
COLUMNS: dict[str, tuple[tuple[str, ...], float, float]] = {
    "Tair": (("TA_F", "TA_F_MDS", "TA_ERA"), 1.0, physics.CELSIUS_ZERO),
    "Rainf": (("P_F", "P", "P_ERA"), 1.0, 0.0),
    "vapour_pressure_deficit": (("VPD_F", "VPD_F_MDS"), 100.0, 0.0),
    "PSurf": (("PA_F", "PA"), 1000.0, 0.0),
    "Wind": (("WS_F", "WS"), 1.0, 0.0),
    "SWdown": (("SW_IN_F", "SW_IN_F_MDS"), 1.0, 0.0),
    "LWdown": (("LW_IN_F", "LW_IN_F_MDS"), 1.0, 0.0),
    "CO2": (("CO2_F_MDS",), 1.0, 0.0),
}


class HalfHourlyConfig(PlaceConfig):
    """`ldas ingest half_hourly`: tables of one site."""

    place: StationPlace
    utc_offset_h: float = Field(ge=-12, le=14, description="hours that local standard time is ahead of UTC")


def read(paths: list[Path], config: HalfHourlyConfig) -> xr.Dataset:
    """Hourly forcing over (time, cell = 1) from the tables of one site.

    Raises:
        IngestError: no such table, times twice, temperature or precipitation not there.
    """
    table = pd.concat([read_table(path) for path in paths]).sort_index()
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise IngestError(f"{', '.join(map(str, paths))}: the time {twice:%Y-%m-%dT%H:%M} is there twice")
    starts = table.index.to_numpy().astype("datetime64[ns]")
    step_s = float((table[END].iloc[0] - table.index[0]).total_seconds())
    values: dict[str, Array] = {}
    marks = Marks()
    for quantity, (columns, factor, offset) in COLUMNS.items():
        column = next((name for name in columns if name in table and not table[name].isna().all()), None)
        if column is None:
            continue
        values[quantity] = table[column].to_numpy(dtype=np.float64) * factor + offset
        quality = f"{column}_QC"
        if quality in table:
            name = "vapour_pressure" if quantity == "vapour_pressure_deficit" else quantity
            marks.add(name, (table[quality] > 0).to_numpy(), "gap-filled by the producer", f"{quality} above 0")
    if "Rainf" in values:
        values["Rainf"] = values["Rainf"] / step_s
    if "vapour_pressure_deficit" in values and "Tair" in values:
        deficit = values.pop("vapour_pressure_deficit")
        both = {"temperature": values["Tair"], "vapour_pressure_deficit": deficit}
        values["vapour_pressure"] = vapour_pressure("vapour_pressure_deficit", both)
    place = config.place
    record = xr.Dataset(
        {name: (("time", "cell"), series[:, None]) for name, series in values.items()},
        coords={
            "time": starts - np.timedelta64(round(config.utc_offset_h * 60), "m"),
            "latitude": ("cell", [place.latitude]),
            "longitude": ("cell", [place.longitude]),
        },
        attrs={ESTIMATED: marks.list},
    )
    return completed(record, place.elevation, "start", config, paths[0])


def read_table(path: Path) -> pd.DataFrame:
    """A table indexed by the start of its intervals, with their end; missing values (-9999) as NaN.

    Raises:
        IngestError: not such a table, times that cannot be read.
    """
    try:
        table = pd.read_csv(path, dtype={START: str, END: str})
    except (OSError, ValueError) as error:
        raise IngestError(f"{path}: no table with a line of names: {files.beginning(path)} ({error})") from error
    if START not in table or END not in table or not len(table):
        raise IngestError(
            f"{path}: no columns {START} and {END} with values, so this is not a half-hourly FLUXNET or ICOS table: "
            f"{files.beginning(path)}"
        )
    stamps = {
        name: files.dates_of(table[name], "%Y%m%d%H%M", "YYYYMMDDHHMM", f"{path}: {name}") for name in (START, END)
    }
    numbers = table.drop(columns=[START, END]).replace(NODATA, np.nan)
    numbers[END] = stamps[END]
    return numbers.set_index(stamps[START].rename("time"))
