"""A STAC item (1.1.0) that describes exported files: place, time, variables, and where they are.

Source: the item specification of https://github.com/radiantearth/stac-spec and the datacube extension 2.2.0.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ldas.pipeline.export.dataset import Rows
from ldas.pipeline.export.outputs import Output, depths
from ldas.pipeline.export.source import Run
from ldas.pipeline.store.layout import Grid, Points

_DATACUBE = "https://stac-extensions.github.io/datacube/v2.2.0/schema.json"
_TYPES = {".nc": "application/x-netcdf", ".zarr": "application/vnd+zarr", ".tif": "image/tiff; application=geotiff"}


def stac_item(
    run: Run,
    attributes: Mapping[str, Any],
    outputs: Mapping[str, Output],
    rows: Rows,
    layout: Grid | Points,
    files: Iterable[Path],
) -> dict[str, Any]:
    """The item, as JSON holds it.

    Args:
        attributes: global attributes of the files.
        files: in the folder of the item.
    """
    south, north, west, east = layout.edges
    if west > 180.0 or east > 180.0:  # GeoJSON has -180 to 180
        west, east = (value - 360.0 if value > 180.0 else value for value in (west, east))
    _, bounds = rows.time_and_bounds(run)
    start, end = f"{bounds[0, 0]}Z", f"{bounds[-1, 1]}Z"
    properties = {
        "datetime": None,
        "start_datetime": start,
        "end_datetime": end,
        "title": attributes["title"],
        "description": attributes["summary"],
        "keywords": str(attributes["keywords"]).split(", "),
        "created": attributes["date_created"],
        "updated": attributes["date_modified"],
        "license": attributes.get("license") or "other",
        "cube:dimensions": _dimensions(outputs, layout, (start, end), (south, north, west, east)),
        "cube:variables": {
            output.name: {
                "type": "data",
                "dimensions": [*(["time", "depth"] if output.layers else ["time"]), *layout.dims],
                "description": output.attributes["long_name"],
                "unit": output.attributes["units"],
            }
            for output in outputs.values()
        },
    }
    if attributes.get("institution"):
        properties["providers"] = [{"name": attributes["institution"], "roles": ["producer"]}]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [_DATACUBE],
        "id": attributes["id"],
        "geometry": _geometry(south, north, west, east),
        "bbox": [west, south, east, north],
        "properties": properties,
        "links": [],
        "assets": {
            path.stem: {"href": f"./{path.name}", "type": _TYPES[path.suffix], "roles": ["data"]} for path in files
        },
    }


def _geometry(south: float, north: float, west: float, east: float) -> dict[str, Any]:
    """A polygon; across the date line two."""

    def ring(left: float, right: float) -> list[list[list[float]]]:
        return [[[left, south], [right, south], [right, north], [left, north], [left, south]]]

    if (south, west) == (north, east):
        return {"type": "Point", "coordinates": [west, south]}
    if west <= east:
        return {"type": "Polygon", "coordinates": ring(west, east)}
    return {"type": "MultiPolygon", "coordinates": [ring(west, 180.0), ring(-180.0, east)]}


def _dimensions(
    outputs: Mapping[str, Output],
    layout: Grid | Points,
    span: tuple[str, str],
    edges: tuple[float, float, float, float],
) -> dict[str, Any]:
    found: dict[str, Any] = {"time": {"type": "temporal", "extent": list(span)}}
    if isinstance(layout, Grid):
        south, north, west, east = edges
        steps = dict(zip(layout.dims, layout.steps, strict=True))
        for name, axis, extent in (("lat", "y", [south, north]), ("lon", "x", [west, east])):
            found[name] = {
                "type": "spatial",
                "axis": axis,
                "extent": extent,
                "step": round(steps[name], 6),
                "reference_system": 4326,
            }
    else:
        found["cell"] = {"type": "ordinal", "extent": [0, layout.places - 1], "description": "number of the cell"}
    layers = tuple(sorted({layer for output in outputs.values() for layer in output.layers}))
    if layers:
        middles = np.round(depths(layers).mean(axis=1), 6).tolist()
        found["depth"] = {"type": "spatial", "axis": "z", "values": middles, "unit": "m"}
    return found
