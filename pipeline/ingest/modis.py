"""MODIS leaf area index (MOD15A2H and its like) averaged over the cells, as an alternative LAI source."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from pydantic import Field

from ldas.landmodel.array_types import Array, IntArray
from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import cgls, grid
from ldas.pipeline.ingest.cgls import Dated, Row
from ldas.pipeline.ingest.config import CellsConfig, ObservationConfig
from ldas.pipeline.ingest.grid import AreaAverage, Cells
from ldas.pipeline.ingest.modis_files import scenes
from ldas.pipeline.ingest.observations import observation_dataset
from ldas.pipeline.ingest.packed import PackedOptions
from ldas.pipeline.settings.assimilation import Name


class ModisConfig(ObservationConfig, PackedOptions):
    """`ldas ingest modis`."""

    variable: str = "Lai_500m"
    group: Name = "lai"
    scale: float | None = Field(
        default=None, gt=0, description="of the stored numbers; default: the file's, or 0.1 for packed integers"
    )
    cells: CellsConfig
    composite_days: int = Field(default=8, ge=1, le=31, description="days of a composite; 4 for MCD15A3H")
    cell_size: float = Field(default=0.25, gt=0, description="degrees: side of the squares of the area average")
    least_fraction: float = Field(default=0.3, ge=0, le=1, description="part of a cell's pixels that must be valid")


class Part(NamedTuple):
    """The pixels (n,) of one scene that lie in cells, with their cells; `place` tells where the scene is."""

    path: Path
    place: bytes
    values: Array
    cell: IntArray


def read(paths: list[Path], cells: Cells, config: ModisConfig) -> xr.Dataset:
    """Observations over (time, cell) at the end of each composite; `count` is the number of valid pixels.

    Subsets of several places, in one file or in several, are averaged together.
    """
    parts: dict[np.datetime64, list[Part]] = {}
    notes: dict[str, None] = {}
    known: dict[bytes, AreaAverage] = {}
    covered = "the files have no date in the period"
    for path in paths:
        for scene in scenes(path, config.variable, config.scale, config):
            if not cgls.in_period(scene.time, config.period):
                continue
            place = scene.latitude.tobytes() + scene.longitude.tobytes()
            if place not in known:
                known[place] = grid.area_average(scene.latitude, scene.longitude, cells, config.cell_size)
            average = known[place]
            covered = (
                f"{path}: no pixel lies in a target cell; the file covers {scene.latitude.min():.2f} to "
                f"{scene.latitude.max():.2f} N, {scene.longitude.min():.2f} to {scene.longitude.max():.2f} E"
            )
            notes.update(dict.fromkeys(scene.notes))
            if average.pixels.size:
                part = Part(path, place, scene.values[average.pixels], average.cell)
                parts.setdefault(scene.time, []).append(part)
    if not parts:
        raise IngestError(covered)
    rows = [_row(time, several, len(cells), config) for time, several in parts.items()]
    made = observation_dataset(
        "lai", cgls.stacked(rows), cells, "m2 m-2", "leaf area index", source_variable=config.variable
    )
    return cgls.with_notes(made, notes)


def _row(time: np.datetime64, parts: list[Part], cells: int, config: ModisConfig) -> Row:
    """The means of one date; IngestError for a scene that is there twice."""
    seen: dict[bytes, Path] = {}
    for part in parts:
        if part.place in seen:
            raise IngestError(f"{part.path}: {files.instant(time)} is also in {seen[part.place]}")
        seen[part.place] = part.path
    cell = np.concatenate([part.cell for part in parts])
    average = AreaAverage(np.arange(len(cell)), cell, cells)
    mean, deviation, count = average.apply(np.concatenate([part.values for part in parts]))
    code = cgls.area_quality(count, average, {}, config.least_fraction)
    dated = Dated(time, time, time + np.timedelta64(config.composite_days, "D"))
    return Row(dated, parts[0].path, mean, np.full(deviation.shape, np.nan), code, count)
