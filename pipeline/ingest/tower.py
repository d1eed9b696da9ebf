"""One site: its land from a few numbers, and what a flux tower measured there, from a FLUXNET daily table."""

from pathlib import Path

import numpy as np
import xarray as xr
from pydantic import Field

from ldas.landmodel.vegetation_table import PATCH_NAMES
from ldas.pipeline import registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import fluxnet
from ldas.pipeline.ingest.config import FilesConfig, IngestConfig, Place
from ldas.pipeline.ingest.grid import Cells
from ldas.pipeline.ingest.land import land_dataset
from ldas.pipeline.ingest.observations import DAY, labelled_at_end
from ldas.pipeline.settings.assimilation import Name
from ldas.pipeline.store.arrays import encode_labels

FLUXES = ("GPP", "RECO", "LE", "H", "RN", "LE_CORR", "H_CORR")


class SiteConfig(IngestConfig):
    """`ldas ingest site`: land of a single place."""

    place: Place
    clay: float = Field(ge=0.01, le=0.99, description="mass fraction of clay")
    sand: float = Field(ge=0.01, le=0.99, description="mass fraction of sand")
    patch_fraction: dict[int, float] = Field(description="area fraction by patch number, 1 to 12")


class TowerConfig(FilesConfig):
    """`ldas ingest tower`: fluxes to `insitu/<network>`, and LAI, where the table has it, to `observations/lai`."""

    place: Place
    network: Name = Field("tower", description="group below `insitu`")
    code: str = Field(description="code of the station, such as FR-Pue")
    lai_error: float = Field(0.2, gt=0, description="relative standard deviation of the LAI")
    lai_days: int = Field(1, ge=1, description="every how many days an LAI becomes an observation")


def site_land(config: SiteConfig) -> xr.Dataset:
    """The land group of one cell.

    Raises:
        IngestError: patches that do not exist, or fractions that do not add to 1.
    """
    unknown = sorted(set(config.patch_fraction) - set(range(1, len(PATCH_NAMES) + 1)))
    total = sum(config.patch_fraction.values())
    if unknown or abs(total - 1.0) > 1e-6 or min(config.patch_fraction.values()) < 0.0:
        raise IngestError(
            "patch_fraction: expected fractions of patches 1 to 12, none negative, that add to 1, got "
            f"{config.patch_fraction} (sum {total:g})"
        )
    fractions = np.zeros((1, len(PATCH_NAMES)))
    for patch, fraction in config.patch_fraction.items():
        fractions[0, patch - 1] = fraction
    place = config.place
    elevation = np.nan if place.elevation is None else place.elevation
    values = {"clay": config.clay, "sand": config.sand, "elevation": elevation}
    return land_dataset(
        Cells(np.array([place.latitude]), np.array([place.longitude])),
        fractions,
        {name: np.array([float(value)]) for name, value in values.items()},
        np.zeros(1, dtype=np.int8),
    )


def read_table(paths: list[Path]) -> xr.Dataset:
    """The observed series of one table."""
    if len(paths) != 1:
        raise IngestError(f"tower reads one table of one site, {len(paths)} files were given")
    table = fluxnet.read_observations(paths[0])
    if table.attrs["averaging"] == "month":
        raise IngestError(f"{paths[0]}: {fluxnet.MONTHLY}")
    return table


def tower_groups(table: xr.Dataset, config: TowerConfig) -> dict[str, xr.Dataset]:
    """The groups that the table has values for; what it has none for is said in the notes of the other.

    FLUXNET2015 tables have no LAI.

    Raises:
        IngestError: neither fluxes nor LAI.
    """
    groups = {"observations/lai": _lai(table, config), f"insitu/{config.network}": _fluxes(table, config)}
    found = {name: dataset for name, dataset in groups.items() if dataset is not None}
    if not found:
        raise IngestError(f"{table.attrs['source_file']}: no value of LAI, {', '.join(FLUXES)} is in the table")
    for name in groups.keys() - found.keys():
        what = "LAI" if name == "observations/lai" else ", ".join(FLUXES)
        note = f"{table.attrs['source_file']} has no value of {what}: {name} is not written"
        for dataset in found.values():
            dataset.attrs["notes"] = [note]
    return found


def _fluxes(table: xr.Dataset, config: TowerConfig) -> xr.Dataset | None:
    """Fluxes over (station = 1, time), in the registry's units; days of local standard time. None without a value."""
    names = [name for name in FLUXES if name in table]
    if not any(table[name].notnull().any() for name in names):
        return None
    codes, attributes = encode_labels([config.code])
    place = config.place
    dataset = xr.Dataset(
        {
            "code": ("station", codes, attributes),
            "latitude": ("station", [place.latitude]),
            "longitude": ("station", [place.longitude]),
        },
        coords={"time": table["time"].to_numpy(), "station": [0]},
        attrs={"days": "local standard time", "source_file": table.attrs["source_file"]},
    )
    for name in names:
        unit = registry.variable(name.removesuffix("_CORR")).unit
        dataset[name] = (("station", "time"), table[name].to_numpy()[None, :], {"units": unit})
        if f"{name}_quality" in table:  # the part of the day that was measured or well gap-filled
            part = table[f"{name}_quality"].to_numpy()[None, :]
            dataset[f"{name}_quality"] = (("station", "time"), part, {"units": "1"})
    return dataset


def _lai(table: xr.Dataset, config: TowerConfig) -> xr.Dataset | None:
    """LAI over (time, cell = 1) with its uncertainty, every `lai_days` days. None without a value."""
    if "LAI" not in table:
        return None
    lai = table["LAI"].to_numpy().astype(np.float64)[:: config.lai_days]
    valid = np.isfinite(lai) & (lai > 0.0)
    if not valid.any():
        return None
    values = np.where(valid, lai, np.nan)[:, None]
    cells = Cells(np.array([config.place.latitude]), np.array([config.place.longitude]))
    days = table["time"].to_numpy()[:: config.lai_days].astype("datetime64[ns]")
    begin = days - np.timedelta64(config.place.utc_offset_h, "h")  # days of local standard time
    dataset = xr.Dataset(
        {
            "value": (("time", "cell"), values, {**registry.attributes("LAI"), "source_column": "LAI"}),
            "uncertainty": (("time", "cell"), config.lai_error * values, {"units": registry.variable("LAI").unit}),
            "quality": (("time", "cell"), np.where(valid, 0, 1).astype(np.int8)[:, None]),
        },
        coords={"time": begin + DAY, **cells.coordinates()},
    )
    return labelled_at_end(dataset, begin, days)
