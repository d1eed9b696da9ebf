"""Files that SURFEX and LDAS-Monde users have: PGD (land), ISBA outputs (an open loop), in NetCDF.

The names are those of SURFEX v8; the readers were tested on mimics of PGD files, and on a real ISBA series
(`ldas.pipeline.ingest.collocated`).
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field

from ldas.assim.masks import MaskThresholds, static_mask
from ldas.assim.quality import Quality
from ldas.landmodel.array_types import Array
from ldas.pipeline import files, registry
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import covers
from ldas.pipeline.ingest.config import FilesConfig, Period
from ldas.pipeline.ingest.grid import Cells, wrap
from ldas.pipeline.ingest.land import StaticMasks, TextureRule, land_dataset
from ldas.pipeline.ingest.packed import PackedOptions, unpack
from ldas.pipeline.settings.assimilation import Name

# What quantities can be; SURFEX writes 1e20 where a value is not defined, older versions 999.
LIMITS = {
    **dict.fromkeys(("clay", "sand", "patch_fraction", "sea", "water", "urban"), (0.0, 1.0 + 1e-6)),
    **{"latitude": (-90.0, 90.0), "longitude": (-180.0, 360.0)},
    **{"elevation": (-500.0, 9000.0), "elevation_deviation": (0.0, 5000.0)},
}
# quantity -> names in PGD and PREP files
PGD_NAMES = {
    "latitude": ("REG_LAT", "XLAT", "LAT", "lat", "latitude"),
    "longitude": ("REG_LON", "XLON", "LON", "lon", "longitude"),
    "elevation": ("ZS", "AVG_ZS"),
    "elevation_deviation": ("SSO_STDEV", "XSSO_STDEV"),
    "clay": ("CLAY",),
    "sand": ("SAND",),
    "patch_fraction": ("PATCH", "PATCH_FRAC", "PATCH_NATURE"),
    "sea": ("FRAC_SEA",),
    "water": ("FRAC_WATER",),
    "urban": ("FRAC_TOWN",),
}
_COVER = re.compile(r"^COVER(\d{3})$")
PATCH_DIMENSIONS = ("Number_of_Patches", "Number_of_patches", "patch", "NPATCH")
# Registry name -> names in ISBA output, where they differ by more than the suffix _ISBA.
OUTPUT_ALIASES = {
    "RECO": ("R_ECO", "RESP_ECO"),
    "DRAINAGE": ("DRAIN",),
    "SWE": ("WSN_VEG_TOT", "TWSNOW", "WSN_T"),
    "SNOW_DEPTH": ("DSN_T", "TDSNOW"),
    "BIOMASS": ("BIOMA",),
}
STATES = ("WG", "TG", "WGI", "LAI", "SWE", "SNOW_DEPTH", "WR", "BIOMASS")


class SurfexLandConfig(FilesConfig, PackedOptions, TextureRule):
    """`ldas ingest surfex-land`: the group `land` from a PGD (or PREP) file."""

    ecoclimap: str | None = Field(
        default=None, description="ECOCLIMAP cover file: patch fractions from COVERnnn where the file has no PATCH"
    )
    complexity_full_scale_m: float = Field(default=500.0, gt=0, description="as in `ldas ingest land`")
    masks: StaticMasks = StaticMasks()


class SurfexRunConfig(FilesConfig, PackedOptions):
    """`ldas ingest surfex-run`: ISBA outputs as a run of the store."""

    run: Name = Field(default="open_loop", description="name below `runs`")
    variables: tuple[str, ...] = Field(
        default=("WG1", "WG2", "WG3", "WG4", "WG5", "TG1", "TG2", "LAI"), description="registry names"
    )
    hour: int = Field(default=9, ge=0, le=23, description="hour (UTC) whose states are stored, where there are several")
    pgd: str | None = Field(
        default=None, description="PGD file with places and patch fractions, where outputs have none"
    )
    period: Period = Period()


def read_land(path: Path, config: SurfexLandConfig, folder: Path) -> xr.Dataset:
    """The group `land` of a PGD file; points without nature are left out.

    Raises:
        IngestError: no texture, no patch fractions and no covers in the file.
    """
    notes: list[str] = []
    with files.open_netcdf(path, mask_and_scale=False) as dataset:
        found = {name: _points(dataset, name, path, config) for name in PGD_NAMES}
        cover = _cover_fractions(dataset, path, config)
    needed = {name: found[name] for name in ("latitude", "longitude", "clay", "sand")}
    there = {name: values for name, values in needed.items() if values is not None}
    for name in needed:
        if name not in there:
            raise IngestError(f"{path}: no {name} ({' or '.join(PGD_NAMES[name])}) in the file: is it a PGD file?")
    latitude, longitude, clay, sand = there.values()
    points = latitude.size
    cells = Cells(latitude.reshape(-1), wrap(longitude.reshape(-1)))
    # Undefined only where there is no nature, and those points are left out.
    clay, sand = (np.nan_to_num(_top(values, points), nan=0.0) for values in (clay, sand))
    clay, sand = config.checked(clay, sand, cells, notes)
    nothing = np.zeros(points)
    water = _or(found["sea"], nothing) + _or(found["water"], nothing)
    urban = _or(found["urban"], nothing)
    if found["patch_fraction"] is not None:
        fractions = _patches_first(found["patch_fraction"], points, path)
    elif cover is not None and config.ecoclimap is not None:
        fractions, water, urban = _from_covers(
            cover, covers.read_ecoclimap(files.beside(folder, config.ecoclimap)), path
        )
    else:
        raise IngestError(
            f"{path}: no patch fractions ({' or '.join(PGD_NAMES['patch_fraction'])}); with COVERnnn in the file, give "
            "`ecoclimap`, the cover file"
        )
    total = fractions.sum(axis=1)
    kept = np.isfinite(total) & (total > 0)
    fractions = fractions / np.where(kept, total, 1.0)[:, None]
    deviation = _or(found["elevation_deviation"], nothing)
    complexity = np.clip(deviation / config.complexity_full_scale_m, 0.0, 1.0)
    masks = config.masks
    mask = static_mask(complexity, water, urban, MaskThresholds(masks.topography, masks.water, masks.urban))
    if masks.drop:
        kept &= mask == Quality.USED
    if not kept.any():
        raise IngestError(f"{path}: no point with nature is left")
    values = {
        "clay": clay,
        "sand": sand,
        "elevation": _or(found["elevation"], np.full(points, np.nan)),
        "topographic_complexity": complexity,
        "water_fraction": np.clip(water, 0.0, 1.0),
        "urban_fraction": urban,
    }
    part = Cells(cells.latitude[kept], cells.longitude[kept])
    dataset = land_dataset(part, fractions[kept], {name: value[kept] for name, value in values.items()}, mask[kept])
    notes.append(f"{int((~kept).sum())} of {points} points left out: no nature, or masked")
    return dataset.assign_attrs(notes=notes)


def _points(dataset: xr.Dataset, quantity: str, path: Path, options: PackedOptions) -> Array | None:
    """One quantity of a PGD file, NaN where it is not defined; None where the file does not have it."""
    name = next((item for item in PGD_NAMES[quantity] if item in dataset.variables), None)
    return None if name is None else unpack(dataset[name], path, LIMITS[quantity], options).values


def _or(values: Array | None, otherwise: Array) -> Array:
    return otherwise if values is None else values.reshape(-1)


def _top(values: Array, points: int) -> Array:
    """Texture of the first layer, where there are several."""
    return values.reshape(-1, points)[0]


def _patches_first(values: Array, points: int, path: Path) -> Array:
    """Patch fractions as (point, 12), from (patch, points...)."""
    flat = values.reshape(-1, points)
    if flat.shape[0] != covers.PATCHES:
        raise IngestError(f"{path}: {flat.shape[0]} patches in the file, expected {covers.PATCHES} (NPATCH = 12)")
    return np.nan_to_num(flat, nan=0.0).T


def _cover_fractions(dataset: xr.Dataset, path: Path, options: PackedOptions) -> dict[int, Array] | None:
    found = {}
    for name in dataset.variables:
        match = _COVER.match(str(name))
        if match:
            parts = unpack(dataset[name], path, LIMITS["patch_fraction"], options).values
            found[int(match[1])] = np.nan_to_num(parts.reshape(-1), nan=0.0)
    return found or None


def _from_covers(cover: dict[int, Array], table: covers.CoverTable, path: Path) -> tuple[Array, Array, Array]:
    numbers = np.array(sorted(cover))
    rows = table.index_of(numbers)
    fraction = np.stack([cover[int(number)] for number in numbers])  # (cover, point)
    unknown = (rows < 0) & (fraction.max(axis=1) > 0)
    if unknown.any():
        raise IngestError(f"{path}: COVER{numbers[unknown][0]:03d} is not in the ECOCLIMAP cover file")
    known = rows >= 0
    parts = fraction[known]
    return parts.T @ table.patches[rows[known]], parts.T @ table.water[rows[known]], parts.T @ table.urban[rows[known]]


def read_run(paths: list[Path], config: SurfexRunConfig, folder: Path) -> xr.Dataset:
    """Daily states (at the configured hour) and fluxes (daily means) over (time, cell), cell means over the patches.

    Raises:
        IngestError: a variable that the files lack, times twice, patches without their fractions.
    """
    pieces = [_read_output(path, config, folder) for path in paths]
    pieces.sort(key=lambda piece: piece["time"].to_numpy()[0])
    joined = pieces[0] if len(pieces) == 1 else xr.concat(pieces, dim="time", join="exact")
    files.check_increasing(joined["time"].to_numpy(), ", ".join(str(path) for path in paths))
    return daily_run(joined, config.hour, config.period, paths[0])


def daily_run(series: xr.Dataset, hour: int, period: Period, where: object) -> xr.Dataset:
    """One value a day: of states the one at `hour`, or the only one of the day; of fluxes the mean."""
    times = pd.DatetimeIndex(series["time"].to_numpy())
    inside = np.ones(len(times), dtype=bool)
    if period.start:
        inside &= times >= pd.Timestamp(period.start)
    if period.end:
        inside &= times <= pd.Timestamp(period.end)
    if not inside.any():
        raise IngestError(f"{where}: no time lies in the period; the files hold {times[0]} to {times[-1]}")
    series, times = series.isel(time=np.flatnonzero(inside)), times[inside]
    days = times.normalize()
    frame_days = days.unique()
    per_day = np.bincount(frame_days.get_indexer(days))
    chosen = np.flatnonzero((times.hour == hour) | (per_day[frame_days.get_indexer(days)] == 1))
    if len(chosen) != len(frame_days):
        lost = frame_days.difference(days[chosen])
        raise IngestError(f"{where}: {len(lost)} days have no value at {hour} UTC, the first {lost[0]:%Y-%m-%d}")
    result = {}
    for name in series.data_vars:
        entry = registry.variable(str(name))
        if entry.group == "flux":
            values = series[name].assign_coords(time=days).groupby("time").mean()
        else:
            values = series[name].isel(time=chosen).assign_coords(time=frame_days)
        values = values.transpose("time", "cell").astype(np.float32)
        registry.check_range(str(name), values.to_numpy(), where=str(where), allow_missing=True)
        result[name] = values.assign_attrs(entry.attributes())
    labels = frame_days.to_numpy().astype("datetime64[ns]")
    bounds = ("time", "bnds"), np.stack([labels, labels + np.timedelta64(1, "D")], axis=1)
    run = xr.Dataset({**result, "time_bnds": bounds}, {"instant_time": ("time", times[chosen].to_numpy())})
    if hour and (times[chosen].hour == hour).all():  # at 00 UTC it is the state of the day's beginning
        run.attrs["analysis_hour_utc"] = hour
    return run.assign_coords(time=labels)


def output_names(name: str) -> tuple[str, ...]:
    """Names under which ISBA output may hold a registry variable: `WG2`, `WG2_ISBA`, `R_ECO_ISBA` for `RECO`."""
    base = registry.base_name(name)
    number = name.removeprefix(base) if name != base else ""
    stems = [f"{stem}{number}" for stem in (base, *OUTPUT_ALIASES.get(base, ()))]
    return tuple(variant for stem in stems for variant in (stem, f"{stem}_ISBA"))


def _read_output(path: Path, config: SurfexRunConfig, folder: Path) -> xr.Dataset:
    pgd_path = files.beside(folder, config.pgd) if config.pgd else path
    with (
        files.open_netcdf(path, mask_and_scale=False) as dataset,
        files.open_netcdf(pgd_path, mask_and_scale=False) as places,
    ):
        times = files.utc_times(dataset, "time", path)
        latitude, longitude = (_points(places, name, pgd_path, config) for name in ("latitude", "longitude"))
        if latitude is None or longitude is None:
            raise IngestError(f"{pgd_path}: no places ({' or '.join(PGD_NAMES['latitude'])}); give `pgd`, the PGD file")
        points = latitude.size
        fractions = _points(places, "patch_fraction", pgd_path, config)
        weights = None if fractions is None else _patches_first(fractions, points, pgd_path)
        variables = {}
        for name in config.variables:
            stored = next((item for item in output_names(name) if item in dataset.variables), None)
            if stored is None:
                raise IngestError(f"{path}: no {name} ({' or '.join(output_names(name))}) in the file")
            variables[name] = (("time", "cell"), _cell_mean(dataset[stored], name, weights, points, path, config))
    cells = Cells(latitude.reshape(-1), wrap(longitude.reshape(-1)))
    return xr.Dataset(variables, coords={"time": times, **cells.coordinates()})


def _cell_mean(
    array: xr.DataArray, name: str, weights: Array | None, points: int, path: Path, options: PackedOptions
) -> Array:
    """Values (time, cell): as they are, or the mean over the patches (undefined in a patch counts 0, as in SURFEX)."""
    limits = registry.variable(name).valid_range
    patch = next((dim for dim in PATCH_DIMENSIONS if dim in array.dims), None)
    if patch is None:
        ordered = array.transpose("time", ...)
        return unpack(ordered, path, limits, options).values.reshape(ordered.sizes["time"], points)
    if weights is None:
        raise IngestError(
            f"{path}: {array.name} is per patch, but there are no patch fractions; give `pgd`, the PGD file"
        )
    ordered = array.transpose("time", patch, ...)
    values = np.nan_to_num(unpack(ordered, path, limits, options).values, nan=0.0).reshape(
        ordered.sizes["time"], -1, points
    )
    total = weights.sum(axis=1)
    with_nature = total > 0
    mean = np.einsum("tpc,cp->tc", values, weights) / np.where(with_nature, total, 1.0)
    return np.where(with_nature, mean, np.nan)
