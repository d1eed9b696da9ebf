"""`ldas ingest <source> --config FILE`: configuration to reader to store, one entry a source."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ldas.operators.extensions import ExtensionError, extension, extension_names
from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import (
    alma,
    arco,
    ascat,
    cgls,
    collocated,
    daily,
    epw,
    era5,
    filter_states,
    forcing_fields,
    formats,
    grid,
    gridded,
    half_hourly,
    ismn,
    land,
    modis,
    observations,
    station,
    surfex,
    tower,
)
from ldas.pipeline.ingest.config import CellsConfig, FilesConfig, ForcingConfig, IngestConfig, ObservationConfig
from ldas.pipeline.ingest.grid import Cells
from ldas.pipeline.ingest.place_record import PlaceConfig
from ldas.pipeline.ingest.seam import StoredEnd
from ldas.pipeline.ingest.swi import FilterState
from ldas.pipeline.ingest.write import Ingested, Origin, default_settings, is_complete, write_all, write_forcing
from ldas.pipeline.settings.yaml_file import load_model
from ldas.pipeline.store.arrays import has_group, open_dataset, open_store
from ldas.pipeline.store.icechunk_store import published
from ldas.pipeline.store.lease import held
from ldas.pipeline.store.location import Location, absolute_url
from ldas.pipeline.store.opening import exists


@dataclass(frozen=True)
class Job:
    """One ingest that is about to run: where its files are and where its result goes."""

    source: str
    config_path: Path
    location: Location
    continued: bool = False  #: write only what comes after the times that the store has

    @property
    def folder(self) -> Path:
        """Folder that paths in the configuration are relative to."""
        return self.config_path.resolve().parent

    def paths(self, config: FilesConfig) -> list[Path]:
        """The files of the configuration."""
        return files.expand(config.files, self.folder)

    def origin(self, config: IngestConfig, paths: list[Path]) -> Origin:
        """Origin of data from these files."""
        return Origin.of_files(self.source, self.config_path, config, paths)

    def cells(self, config: CellsConfig) -> Cells:
        """The target cells."""
        group = config.from_group
        if group is None or not exists(self.location) or not has_group(open_store(self.location), group):
            return grid.target_cells(config)
        return grid.target_cells(config, open_dataset(self.location, group))

    def stored(self, group: str, config: IngestConfig) -> xr.Dataset | None:
        """The group that is there, where this ingest appends to it."""
        appends = (self.continued or config.append) and exists(self.location)
        if not appends or not is_complete(open_store(self.location), group):
            return None
        return open_dataset(self.location, group)

    def put(
        self,
        dataset: xr.Dataset,
        group: str,
        config: IngestConfig,
        paths: list[Path],
        state: xr.Dataset | None = None,
    ) -> list[Ingested]:
        """Writes a small dataset, with the state of the filter that made it."""
        return self.put_all({group: dataset}, config, paths, {group: state})

    def put_all(
        self,
        datasets: Mapping[str, xr.Dataset],
        config: IngestConfig,
        paths: list[Path],
        states: Mapping[str, xr.Dataset | None] | None = None,
        replaced: Mapping[str, int] | None = None,
    ) -> list[Ingested]:
        """Writes several small datasets, all or none.

        Args:
            replaced: how many of the last stored times of a group are made again.
        """
        stored = {group: self.stored(group, config) for group in datasets}
        datasets = {group: observations.labelled_like(part, stored[group]) for group, part in datasets.items()}
        if isinstance(config, ObservationConfig):
            for group, dataset in datasets.items():
                if stored[group] is None:
                    observations.require_usable(dataset, group, config.nothing_usable)
        replaced = replaced or {}
        parts = {group: self._unwritten(part, group, replaced.get(group, 0)) for group, part in datasets.items()}
        new = {group: dataset for group, dataset in parts.items() if dataset is not None}
        return write_all(new, self.location, config, self.origin(config, paths), states, replaced)

    def stored_end(self, config: ForcingConfig) -> StoredEnd | None:
        """The end of the forcing that is there, where this ingest appends to it."""
        stored = self.stored(config.group, config)
        return None if stored is None else StoredEnd.of(self.location, config.group, stored)

    def put_forcing(
        self, dataset: xr.Dataset, config: ForcingConfig, origin: Origin, end: StoredEnd | None, replaced: int = 0
    ) -> list[Ingested]:
        """Writes the forcing.

        Args:
            replaced: how many of the last stored hours may be made again, because what follows was not known then.
        """
        new = self._unwritten(dataset, config.group, replaced)
        return [] if new is None else [write_forcing(new, config.group, self.location, config, origin, end, replaced)]

    def _unwritten(self, dataset: xr.Dataset, group: str, replaced: int = 0) -> xr.Dataset | None:
        """The times that the store does not have yet, None where there is none: all of it unless `continued`.

        Args:
            replaced: stored times that are kept before them.
        """
        if not self.continued or "time" not in dataset.dims or not has_group(open_store(self.location), group):
            return dataset
        times = dataset["time"].to_numpy()
        first = int(np.searchsorted(times, open_dataset(self.location, group)["time"].to_numpy()[-1], side="right"))
        return dataset.isel(time=slice(max(first - replaced, 0), None)) if first < len(times) else None


def _era5(job: Job, config: era5.Era5Config) -> list[Ingested]:
    paths, end = job.paths(config), job.stored_end(config)
    dataset = era5.read(paths, job.cells(config.cells), config, config.accumulation, _temperature(end))
    forcing_fields.require_complete(dataset, "era5")
    return job.put_forcing(dataset, config, job.origin(config, paths), end)


def _arco(job: Job, config: arco.ArcoConfig) -> list[Ingested]:
    end = job.stored_end(config)
    dataset = arco.read(job.cells(config.cells), config, _temperature(end))
    origin = Origin(
        job.source,
        f"ldas ingest {job.source} --config {job.config_path.name}",
        {config.url: "archive: not checksummed"},
        config.model_dump(mode="json"),
        default_settings(config),
    )
    return job.put_forcing(dataset, config, origin, end)


def _temperature(end: StoredEnd | None) -> xr.DataArray | None:
    return None if end is None else end.temperature


def _alma(job: Job, config: alma.AlmaConfig) -> list[Ingested]:
    paths, end = job.paths(config), job.stored_end(config)
    dataset = alma.read(paths, config, _temperature(end))
    return job.put_forcing(dataset, config, job.origin(config, paths), end, alma.replaced_hours(config))


def _daily(job: Job, config: daily.DailyConfig) -> list[Ingested]:
    paths, end = job.paths(config), job.stored_end(config)
    dataset = daily.read(paths, config, None if end is None else (end.first, end.last))
    return job.put_forcing(dataset, config, job.origin(config, paths), end, daily.REPLACED_HOURS)


def _at_one_place(read: Callable[[list[Path], Any], xr.Dataset]) -> Callable[..., list[Ingested]]:
    """The ingest of a reader of the weather at one place (`place_record`)."""

    def run(job: Job, config: PlaceConfig) -> list[Ingested]:
        paths = job.paths(config)
        return job.put_forcing(read(paths, config), config, job.origin(config, paths), None)

    return run


def _ascat(job: Job, config: ascat.AscatConfig) -> list[Ingested]:
    paths = job.paths(config)
    group = f"observations/{config.group or config.quantity}"
    stored = job.stored(group, config)
    kept = None if stored is None else filter_states.state_of(job.location, group, stored)
    past = None if kept is None else FilterState.from_dataset(kept)
    dataset, state = ascat.read_after(paths, job.cells(config.cells), config, job.folder, stored, past)
    return job.put(dataset, group, config, paths, None if state is None else state.to_dataset())


def _cgls(job: Job, config: cgls.CglsConfig) -> list[Ingested]:
    paths = job.paths(config)
    dataset = cgls.read(paths, job.cells(config.cells), config)
    name = config.group or cgls.product_of(config.variable).observation
    return job.put(dataset, f"observations/{name}", config, paths)


def _gridded(job: Job, config: gridded.GriddedConfig) -> list[Ingested]:
    paths = job.paths(config)
    return job.put(gridded.read(paths, job.cells(config.cells), config), f"observations/{config.group}", config, paths)


def _modis(job: Job, config: modis.ModisConfig) -> list[Ingested]:
    paths = job.paths(config)
    dataset = modis.read(paths, job.cells(config.cells), config)
    return job.put(dataset, f"observations/{config.group}", config, paths)


def _ismn(job: Job, config: ismn.IsmnConfig) -> list[Ingested]:
    paths = job.paths(config)
    found = ismn.read_groups(paths, config, lambda network: job.stored(f"insitu/{network}", config))
    groups = {f"insitu/{network}": dataset for network, dataset in found.items()}
    replaced = {}
    for group, dataset in groups.items():
        stored = job.stored(group, config)
        replaced[group] = int(stored is not None and dataset["time"].to_numpy()[0] == stored["time"].to_numpy()[-1])
    return job.put_all(groups, config, paths, replaced=replaced)


def _land(job: Job, config: land.LandConfig) -> list[Ingested]:
    paths = land.input_files(config, job.folder)
    dataset = land.read(job.cells(config.cells), config, job.folder)
    return job.put(dataset, "land", config, paths)


def _surfex_land(job: Job, config: surfex.SurfexLandConfig) -> list[Ingested]:
    paths = job.paths(config)
    if len(paths) != 1:
        raise IngestError(f"surfex-land reads one PGD file, {len(paths)} were given")
    return job.put(surfex.read_land(paths[0], config, job.folder), "land", config, paths)


def _surfex_run(job: Job, config: surfex.SurfexRunConfig) -> list[Ingested]:
    paths = job.paths(config)
    return job.put(surfex.read_run(paths, config, job.folder), f"runs/{config.run}", config, paths)


def _collocated(job: Job, config: collocated.CollocatedConfig) -> list[Ingested]:
    paths = job.paths(config)
    run, observed = collocated.read(paths, config)
    groups = {f"runs/{config.run}": run, f"observations/{config.observation}": observed}
    return job.put_all(groups, config, paths)


def _site(job: Job, config: tower.SiteConfig) -> list[Ingested]:
    return job.put(tower.site_land(config), "land", config, [])


def _tower(job: Job, config: tower.TowerConfig) -> list[Ingested]:
    paths = job.paths(config)
    return job.put_all(tower.tower_groups(tower.read_table(paths), config), config, paths)


@dataclass(frozen=True)
class Source:
    """One source: what it reads, its configuration, and the function that runs it."""

    text: str
    config: type[IngestConfig]
    run: Callable[..., list[Ingested]]


GROUP = "ldas.sources"  # entry points of other packages
SOURCES: dict[str, Source] = {
    "era5": Source("ERA5 NetCDF, GRIB or point CSV from the Climate Data Store", era5.Era5Config, _era5),
    "arco": Source("the analysis-ready ERA5 Zarr archive in the cloud", arco.ArcoConfig, _arco),
    "alma": Source("forcing with ALMA names: PLUMBER2, FLUXNET, SURFEX text tables", alma.AlmaConfig, _alma),
    "daily": Source("FLUXNET daily records, disaggregated to hours", daily.DailyConfig, _daily),
    "station": Source(
        "hourly rain and temperature of a weather station: ISMN, CSV, NetCDF",
        station.StationConfig,
        _at_one_place(station.read),
    ),
    "half_hourly": Source(
        "half-hourly tables of FLUXNET2015 and ICOS", half_hourly.HalfHourlyConfig, _at_one_place(half_hourly.read)
    ),
    "epw": Source("EnergyPlus weather files: a typical year at one place", epw.EpwConfig, _at_one_place(epw.read)),
    "ascat": Source("ASCAT backscatter and soil moisture: H SAF, EUMETSAT", ascat.AscatConfig, _ascat),
    "cgls": Source("Copernicus Global Land SWI, SSM, LAI", cgls.CglsConfig, _cgls),
    "gridded": Source(
        "any gridded CF product of observations: NetCDF or Zarr, described by the configuration",
        gridded.GriddedConfig,
        _gridded,
    ),
    "modis": Source("MODIS leaf area index", modis.ModisConfig, _modis),
    "ismn": Source("in situ soil moisture of the ISMN", ismn.IsmnConfig, _ismn),
    "land": Source("patch fractions, texture, elevation, masks from maps", land.LandConfig, _land),
    "surfex-land": Source("land from a SURFEX PGD file", surfex.SurfexLandConfig, _surfex_land),
    "surfex-run": Source("ISBA outputs as a run", surfex.SurfexRunConfig, _surfex_run),
    "site": Source("land of a single place, from a few numbers", tower.SiteConfig, _site),
    "tower": Source("fluxes and LAI of a flux tower, from a FLUXNET daily table", tower.TowerConfig, _tower),
    "collocated": Source("tables of ASCAT backscatter with ISBA states", collocated.CollocatedConfig, _collocated),
}


def configured_source(source: str, config_path: Path) -> tuple[Source, IngestConfig]:
    """The source of that name and its configuration."""
    known = [*SOURCES, *extension_names(GROUP)]
    if source not in known:
        near = difflib.get_close_matches(source, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise IngestError(f"unknown source {source!r}{hint} Known: {', '.join(known)}")
    entry = SOURCES[source] if source in SOURCES else source_of_another_package(source)
    return entry, load_model(config_path, entry.config)


def source_of_another_package(name: str) -> Source:
    """The source that an installed package offers as entry point `name`.

    Raises:
        IngestError: an entry point that is not a source.
    """
    try:
        found = extension(GROUP, name, ("text", "config", "run"))
    except ExtensionError as error:
        raise IngestError(str(error)) from error
    if not (isinstance(found.config, type) and issubclass(found.config, IngestConfig)):
        raise IngestError(
            f"entry point {name} ({GROUP}): its `config` must be a class made from `ldas.pipeline.ingest.config."
            f"IngestConfig`, got {found.config!r}"
        )
    return Source(found.text, found.config, found.run)


def source_names() -> dict[str, str]:
    """Names of the sources, those of installed packages too, each with one line of what it reads."""
    others = (name for name in extension_names(GROUP) if name not in SOURCES)
    return {
        **{name: source.text for name, source in SOURCES.items()},
        **{name: source_of_another_package(name).text for name in others},
    }


def check_ingest(source: str, config_path: Path) -> int:
    """How many files an ingest would read, once its configuration is valid and they are there; nothing is read.

    Raises:
        IngestError: as `run_ingest`.
        ConfigurationError: as `run_ingest`.
    """
    _, config = configured_source(source, config_path)
    folder = config_path.resolve().parent
    if isinstance(config, land.LandConfig):
        return len(land.input_files(config, folder))
    return len(files.expand(config.files, folder)) if isinstance(config, FilesConfig) else 0


def appends(source: str, config_path: Path) -> bool:
    """Whether an ingest may add later times to a group that is there: its configuration says `append: true`."""
    return configured_source(source, config_path)[1].append


def provisional_hours(attributes: Mapping[str, Any]) -> int:
    """How many of the last hours of a stored forcing the next append makes again (docs/ingestion.md, Appending).

    Args:
        attributes: of the group; without those of an ingestion, all hours are final.
    """
    ingests: Any = attributes.get("ingests", [])
    if not ingests:
        return 0
    source, given = ingests[-1]["source"], ingests[-1]["configuration"]
    if source == "daily":
        return daily.REPLACED_HOURS
    return int(given.get("radiation") == "centred" or (source == "alma" and given.get("stamp", "instant") != "instant"))


def run_ingest(
    source: str,
    config_path: Path,
    store: Location | None = None,
    *,
    continued: bool = False,
    message: Callable[[str], None] = lambda text: None,
) -> tuple[Ingested, ...]:
    """Runs one ingest and says what it wrote.

    Args:
        source: a name of `SOURCES`.
        store: instead of the configuration's `store`, as an experiment gives its own.
        continued: append the times after those that the store has; there may be none.
        message: told when a lease is waited for or taken over.

    Raises:
        IngestError: unknown source, no store, or anything in the files that cannot be used.
        ConfigurationError: a configuration that is not valid.
        StoreError: a group that already exists, times that overlap, or another command that writes the store.
    """
    entry, config = configured_source(source, config_path)
    if store is None:
        if config.store is None:
            raise IngestError(f"{config_path}: no `store` is given: where should the data go?")
        url = absolute_url(config.store.url, config_path.resolve().parent)
        store = Location(url, dict(config.store.options))
    with held(store, f"the ingestion of {source}", message), published(store, f"ingest {source}"):
        job = Job(source, config_path, store, continued)
        try:
            return tuple(entry.run(job, config))
        except IngestError as error:
            said, paths = str(error), job.paths(config) if isinstance(config, FilesConfig) else []
            raise IngestError(said + formats.of_another_source(source, paths, said)) from error
