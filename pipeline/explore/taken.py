"""What is shown, to take along: a map or the series of a cell as a dataset or as a table."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ldas.assim.quality import Quality
from ldas.pipeline.explore.content import Content
from ldas.pipeline.explore.maps import Map
from ldas.pipeline.explore.series import CellSeries, Points
from ldas.pipeline.store.grid import to_grid


def map_dataset(content: Content, shown: Map) -> xr.Dataset:
    """A map with its coordinates: over latitude and longitude, or over cells where they are on no grid."""
    latitude, longitude = (xr.DataArray(axis, dims="cell") for axis in content.centres)
    attributes = {"long_name": shown.long_name, "units": shown.unit or "1"}
    cells = xr.Dataset({shown.name: ("cell", shown.values, attributes)})
    rows, columns = (len(np.unique(np.round(axis, 6))) for axis in content.centres)
    if rows * columns <= 4 * len(latitude):
        found = to_grid(cells, latitude, longitude)
    else:
        found = cells.assign_coords(latitude=latitude, longitude=longitude)
    found["latitude"].attrs.update(units="degrees_north", standard_name="latitude")
    found["longitude"].attrs.update(units="degrees_east", standard_name="longitude")
    return found.assign_attrs(_attributes(content, shown.title))


def map_table(content: Content, shown: Map) -> pd.DataFrame:
    """A map as a table: a row a cell."""
    latitude, longitude = content.centres
    column = f"{shown.name} ({shown.unit})" if shown.unit else shown.name
    return pd.DataFrame(
        {"cell": np.arange(len(latitude)), "latitude": latitude, "longitude": longitude, column: shown.values}
    )


def series_table(series: CellSeries) -> pd.DataFrame:
    """All series of a cell as one table: what, series, time (UTC), value, unit and quality code, one row a value."""
    parts = []
    for what, lines in (("value", series.lines), ("increment", series.increments)):
        parts += [
            pd.DataFrame({"what": what, "series": one.label, "time": one.times, "value": one.values}) for one in lines
        ]
    for what, points in (("observation", series.observed), ("innovation", series.innovations)):
        parts += [
            pd.DataFrame(
                {
                    "what": what,
                    "series": one.label,
                    "time": one.times,
                    "value": one.values,
                    "quality": one.codes,
                    "meaning": one.meanings,
                }
            )
            for one in points
        ]
    columns = ["what", "series", "time", "value", "unit", "quality", "meaning"]
    if not parts:
        return pd.DataFrame(columns=columns)
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True).assign(unit=series.unit)
    table = table.reindex(columns=columns).dropna(subset=["value"]).reset_index(drop=True)
    return table.astype({"quality": "Int64"})


def series_dataset(content: Content, series: CellSeries) -> xr.Dataset:
    """All series of a cell as a dataset, each with its own times."""
    found = {}
    for what, drawn in (
        ("", series.lines),
        ("increment_", series.increments),
        ("", series.observed),
        ("innovation_", series.innovations),
    ):
        for one in drawn:
            name = what + "".join(sign if sign.isalnum() else "_" for sign in one.label)
            time = f"time_{name}"
            attributes = {"long_name": f"{one.label} {series.long_name}", "units": series.unit or "1"}
            found[name] = xr.DataArray(
                one.values, {time: one.times.astype("datetime64[ns]")}, (time,), attrs=attributes
            )
            if isinstance(one, Points):
                flags = {
                    "flag_values": np.array([*Quality], dtype=np.int8),
                    "flag_meanings": " ".join(q.name.lower() for q in Quality),
                }
                found[f"quality_{name}"] = xr.DataArray(one.codes.astype(np.int8), dims=(time,), attrs=flags)
    place = {"latitude": series.latitude, "longitude": series.longitude, "cell": series.cell}
    return xr.Dataset(found, attrs=_attributes(content, f"{series.quantity} of cell {series.cell}")).assign_coords(
        place
    )


def _attributes(content: Content, title: str) -> dict[str, Any]:
    synthetic = {"synthetic": "true"} if content.synthetic else {}
    return {"Conventions": "CF-1.11", "title": title, **synthetic}
