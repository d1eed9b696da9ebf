"""What the stages that run the land model share: parameters and forcing of a block, and the model itself."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr

from ldas import landmodel
from ldas.landmodel import OutputRequest, Parameters, State
from ldas.landmodel.constants import SOIL_LAYERS
from ldas.landmodel.gpu import Card, columns_that_fit
from ldas.pipeline import registry
from ldas.pipeline.errors import RegistryError, StoreError
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.forcing.check import Places, check_forcing
from ldas.pipeline.forcing.read import TimedForcing, land_forcing
from ldas.pipeline.settings.acceptance import ACCEPTED
from ldas.pipeline.settings.execution import CARD
from ldas.pipeline.settings.experiment import ExperimentConfig, ModelConfig
from ldas.pipeline.settings.land_options import model_options
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import (
    dimensions,
    existing_array,
    existing_group,
    has_group,
    read_region,
    read_regions,
    read_times,
)
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.location import public_url
from ldas.pipeline.store.provenance import group_checksum, provenance

FORCING_NAMES = registry.names("forcing")
FORCING_BYTES = (4 + 8 + 8) * len(FORCING_NAMES)  # of one record of a cell: as stored, in double precision, stacked
SAME_PLACE_DEGREES = 1e-4  # coordinates may be stored in single precision
CELLS_LISTED = 10  # of those that cannot be run
DEVICES = "devices"  # attribute of what was computed: on what
LAND_NAMES = ("latitude", "longitude", "clay", "sand", "patch_fraction")


class CardModel(landmodel.Isba):
    """The land model on the card of this worker, on which its tasks take turns."""

    def run(self, *arguments: Any, **keys: Any) -> tuple[State, dict[str, np.ndarray]]:
        """See `Isba.run`."""
        return super().run(*arguments, **{**keys, "device": "gpu"})


@dataclass(frozen=True)
class LandStage(Stage):
    """A stage that runs the land model for an experiment."""

    config: ExperimentConfig
    columns_per_cell: int

    @property
    @abstractmethod
    def group(self) -> str:
        """Group of the output."""

    def record(self, root: zarr.Group) -> None:
        """See `Stage.record`: the checks that are accepted, in the group of the output."""
        attributes = existing_group(root, self.group).attrs
        before: Any = attributes.get(ACCEPTED, [])
        accepted = accepted_checks(root, self.config).union(before)
        news: dict[str, Any] = {} if accepted == set(before) else {ACCEPTED: sorted(accepted)}
        if not ledger.is_complete(root, self.name):
            news |= self._devices(root, attributes.get(DEVICES))
        if news:
            attributes.update(news)

    def _devices(self, root: zarr.Group, before: Any) -> dict[str, list[str]]:
        """What is new of the devices on which the output was computed, in their order; earlier versions had one."""
        known: list[str] = before or (["cpu"] if ledger.is_begun(root, self.name) else [])
        now = self.config.execution.device_name
        return {} if now in known else {DEVICES: [*known, now]}

    @property
    def resources(self) -> Mapping[str, float]:
        """See `Stage.resources`: a turn on the worker's card."""
        return {CARD: 1} if self.config.execution.device == "gpu" else {}

    def cells_that_fit(self, card: Card) -> int | None:
        """See `Stage.cells_that_fit`."""
        if self.config.execution.device != "gpu":
            return None
        return columns_that_fit(card, *self.on_card(), records_a_day(self.root())) // self.columns_per_cell

    def on_card(self) -> tuple[int, int]:
        """How many members of each column run at a time, at most, and how many values of each of them are put out."""
        names = (*self.config.output.mean, *self.config.output.instant)
        return 1, sum(1 if registry.variable(name).layer is None else SOIL_LAYERS for name in names)

    @property
    def takes_over_from_other_device(self) -> bool:
        """See `Stage.takes_over_from_other_device`; also as long as it is not decided which one it is."""
        return "other_device" in self.config.accept or self.config.execution.device == "auto"

    def device_identity(self) -> dict[str, str]:
        """The device as a part of an identity; nothing for the processor, as before there was a choice."""
        device = self.config.execution.device
        return {"device": device} if device == "gpu" else {}

    def land_model(self, parameters: Parameters) -> landmodel.Isba:
        """The model of some columns on the run's device."""
        kind = CardModel if self.config.execution.device == "gpu" else landmodel.Isba
        return kind(parameters, model_options(self.config.model))

    def refresh(self, root: zarr.Group) -> None:
        """See `Stage.refresh`."""
        existing_group(root, self.group).attrs.update(self.group_attributes(root))

    def model_identity(self) -> dict[str, Any]:
        """Options that the state of the model depends on."""
        return self.config.model.model_dump(exclude={"analysis_hour_utc"})

    def parameters(self, root: zarr.Group, block: Block) -> Parameters:
        """`landmodel.Parameters` of a block's columns, from the group `land`; cells that cannot be run, or are not
        chosen, have none."""
        parameters = land_of(root, block, self.config.model).parameters
        return parameters if block.mask is None else parameters.take(block.mask[parameters.cell])

    def example_state(self) -> State:
        """A state of one column, for the template of a restart."""
        return landmodel.cold_start(_example_parameters(self.config.model), air_temperature=285.0)

    def forcing(
        self,
        root: zarr.Group,
        block: Block,
        start: np.datetime64,
        stop: np.datetime64,
        parameters: Parameters,
        group: str = "forcing",
    ) -> TimedForcing:
        """Checked forcing of a block from `start` to `stop` (record at `stop` included); that of cells without columns,
        which the model does not read, is not checked. Gaps stop nobody: see `cells_with_gaps`."""
        times = forcing_times(root, group)
        first, last = np.searchsorted(times, [start, stop])
        if first >= len(times) or times[first] != start or last >= len(times) or times[last] != stop:
            what = "the forcing of the store" if group == "forcing" else f"'{group}'"
            raise StoreError(
                f"{what} runs from {times[0]} to {times[-1]}; {start} to {stop} is needed, with "
                "records at both ends (the last interval ends with the record at its end)"
            )
        check_cells(root, existing_group(root, group), FORCING_NAMES[0], block.region)
        records = slice(int(first), int(last) + 1)
        dataset = xr.Dataset(
            {name: (("time", "cell"), values) for name, values in _forcing_of(root, records, block, group).items()},
            coords={"time": times[records], "cell": np.arange(block.start, block.stop)},
        )
        usable = ~without_columns(parameters, block.cells)
        if usable.any():
            part = dataset if usable.all() else dataset.isel(cell=np.flatnonzero(usable))
            latitude, longitude = (values[usable] for values in read_places(root, block.region))
            source = f"{public_url(self.location.url)} {group}"
            check_forcing(part, latitude, longitude, source, accepted_checks(root, self.config, group) | {"gap"})
        return land_forcing(dataset, keep_single=self.config.execution.device == "gpu")

    def run_model(
        self,
        parameters: Parameters,
        state: State,
        forcing: TimedForcing,
        start: np.datetime64,
        stop: np.datetime64,
        output: OutputRequest | None = None,
    ) -> tuple[State, dict[str, np.ndarray]]:
        """Runs the model from `start`, where the forcing begins, to `stop`; a state may come back not finite."""
        step_s = self.config.model.time_step_s
        return self.land_model(parameters).run(
            state,
            forcing.forcing,
            start=start,
            step_s=step_s,
            steps=int((stop - start) / np.timedelta64(step_s, "s")),
            forcing_step_s=forcing.step_s,
            output=output,
            allow_nonfinite=True,
        )

    def advanced(
        self,
        parameters: Parameters,
        state: State,
        forcing: TimedForcing,
        start: np.datetime64,
        stop: np.datetime64,
        chosen: np.ndarray,
    ) -> State:
        """The state with the chosen columns run from `start`, where the forcing begins, to `stop`."""
        if not chosen.any():
            return state
        part, _ = self.run_model(parameters.take(chosen), state.take(chosen), forcing, start, stop)
        return merged(state, part, chosen)

    def group_attributes(self, root: zarr.Group) -> dict[str, Any]:
        """Attributes for the groups that this stage makes."""
        names = [name for name in ("land", "forcing") if has_group(root, name)]
        inputs = {name: group_checksum(existing_group(root, name)) for name in names}
        attributes = provenance(self.config.model_dump(mode="json"), inputs)
        made_up = {"synthetic": "true"} if self.config.synthetic else {}
        return {**attributes, "experiment": self.config.name, **made_up}


class BlockLand(NamedTuple):
    """Land of a block: parameters of the columns of the cells that can be run, and why the others cannot, by number of
    the cell in the store."""

    parameters: Parameters
    unusable: Mapping[int, str]


def land_of(root: zarr.Group, block: Block, model: ModelConfig) -> BlockLand:
    """The land of a block; a cell of water only, or with undefined or impossible values, does not stop the others."""
    read = _land(root, LAND_NAMES, block.region)
    land = {name: values.astype(np.float64) for name, values in read.items()}
    try:
        return BlockLand(_parameters_of(land, model), {})
    except landmodel.LandModelError:
        reasons = {}
        for index in range(block.cells):
            try:
                _parameters_of({name: values[index : index + 1] for name, values in land.items()}, model)
            except landmodel.LandModelError as error:
                reasons[index] = _why_unusable({name: values[index] for name, values in land.items()}, error)
    usable = np.setdiff1d(np.arange(block.cells), list(reasons))
    unusable = {block.start + index: reason for index, reason in reasons.items()}
    if not usable.size:
        return BlockLand(_example_parameters(model).take(slice(0, 0)), unusable)
    found = _parameters_of({name: values[usable] for name, values in land.items()}, model)
    return BlockLand(found._replace(cell=usable[found.cell]), unusable)


def _parameters_of(land: Mapping[str, np.ndarray], model: ModelConfig) -> Parameters:
    return landmodel.columns_from_fractions(
        land["patch_fraction"],
        land["clay"],
        land["sand"],
        land["latitude"],
        land["longitude"],
        model_options(model),
        vegetation_of_patch=model.vegetation_types,
        minimum_fraction=model.minimum_fraction,
        overrides=model.overrides,
        air_height=model.air_height_m,
        wind_height=model.wind_height_m,
        cell_size_km=model.cell_size_km,
    )


def _example_parameters(model: ModelConfig) -> Parameters:
    """Parameters of one column with these settings, anywhere."""
    middle = {"patch_fraction": np.eye(12)[:1], **{name: np.full(1, 0.3) for name in ("clay", "sand")}}
    return _parameters_of({**middle, "latitude": np.zeros(1), "longitude": np.zeros(1)}, model)


def _why_unusable(land: Mapping[str, np.ndarray], error: landmodel.LandModelError) -> str:
    """What is wrong with the land of one cell, whose parameters the land model refused with an error."""
    for name in LAND_NAMES:
        try:
            registry.check_range(name, land[name], where="land")
        except RegistryError as outside:
            return str(outside)
    return "no land: all patch fractions are 0" if not land["patch_fraction"].any() else str(error)


def without_columns(parameters: Parameters, cells: int) -> np.ndarray:
    """Cells (boolean) of a block that have no column: those that cannot be run."""
    return ~cells_with(np.ones(parameters.columns, dtype=bool), parameters.cell, cells)


def cells_with_gaps(forcing: TimedForcing) -> np.ndarray:
    """Cells (boolean) whose forcing is undefined somewhere: the model cannot be run there."""
    return ~np.logical_and.reduce([np.isfinite(values).all(axis=0) for values in map(np.asarray, forcing.forcing)])


def first_gap(root: zarr.Group, block: Block, start: np.datetime64, stop: np.datetime64) -> str | None:
    """Where the forcing of a block is undefined from `start` to `stop`; None where it is whole, or no longer there."""
    if not has_group(root, "forcing"):
        return None
    times = forcing_times(root)
    records = slice(int(np.searchsorted(times, start)), int(np.searchsorted(times, stop, side="right")))
    for name in FORCING_NAMES:
        undefined = ~np.isfinite(read_forcing(root, name, records, block.region)).all(axis=1)
        if undefined.any():
            when = np.datetime_as_string(times[records][undefined.argmax()], unit="m")
            return f"its forcing has a gap ({name} at {when} UTC)"
    return None


def accepted_checks(root: zarr.Group, config: ExperimentConfig, group: str = "forcing") -> frozenset[str]:
    """Checks of plausibility that the experiment, or the ingestion of its forcing, accepts."""
    ingests: Any = existing_group(root, group).attrs.get("ingests", [])
    return frozenset(config.accept).union(*(entry["configuration"].get("accept", ()) for entry in ingests))


def forcing_times(root: zarr.Group, group: str = "forcing") -> np.ndarray:
    """Times of the forcing, up to what is complete."""
    return read_times(root, group)


def records_a_day(root: zarr.Group) -> int:
    """Records of the forcing that a day needs, with those of both ends; of hourly forcing where there is none yet."""
    times = forcing_times(root)[:2] if has_group(root, "forcing") else np.array([], "datetime64[s]")
    step = times[1] - times[0] if len(times) == 2 else np.timedelta64(1, "h")
    return int(np.timedelta64(1, "D") / step) + 1


def read_forcing(
    root: zarr.Group, name: str, records: slice, cells: slice, *, as_given: bool = False, group: str = "forcing"
) -> np.ndarray:
    """A variable of the forcing (time, cell): what `ldas check` looks at is what a run reads.

    In the registry's unit, unless as_given: in the unit in which it is stored.
    """
    unit = None if as_given else registry.variable(name).unit
    return read_region(root, group, name, {"time": records, "cell": cells}, dims=("time", "cell"), unit=unit)


def _forcing_of(root: zarr.Group, records: slice, block: Block, group: str) -> dict[str, np.ndarray]:
    """The forcing of a block by name; only the chosen cells are read, and those between them."""
    first, last = (0, block.cells) if block.chosen is None else (block.chosen[0], block.chosen[-1] + 1)
    region = {"time": records, "cell": slice(block.start + first, block.start + last)}
    units = [registry.variable(name).unit for name in FORCING_NAMES]
    dims = [("time", "cell")] * len(FORCING_NAMES)
    read = read_regions(root, group, FORCING_NAMES, region, dims=dims, units=units)
    if block.chosen is None:
        return read
    values = {name: np.full((records.stop - records.start, block.cells), np.nan) for name in read}
    for name, part in read.items():
        values[name][:, first:last] = part
    return values


def check_cells(root: zarr.Group, group: zarr.Group, name: str, cells: slice = slice(None)) -> None:
    """Refuses a group that another program wrote for other cells than those of `land`; ingestion checks its own.

    Raises:
        StoreError: if their number differs, or the latitude or longitude of one of the chosen cells, if given.
    """
    if "complete" in group.attrs:
        return
    path = group.path
    array = existing_array(root, path, name)
    there = dict(zip(dimensions(array), array.shape, strict=True)).get("cell")
    expected = number_of_cells(root)
    if there is not None and there != expected:
        raise StoreError(
            f"'{path}/{name}' has {there} cells, 'land' has {expected}: they must be the same, in one order"
        )
    for place in ("latitude", "longitude"):
        if place not in group:
            continue
        given = read_region(root, path, place, {"cell": cells}, dims=("cell",))
        wrong = np.abs((given - read_land(root, place, cells) + 180.0) % 360.0 - 180.0) > SAME_PLACE_DEGREES
        if wrong.any():
            cell = int(np.argmax(wrong))
            raise StoreError(
                f"'{path}': {place} of cell {(cells.start or 0) + cell} is {given[cell]:g}, in 'land' it is "
                f"{read_land(root, place, cells)[cell]:g}: both must have the same cells, in one order"
            )


def read_places(root: zarr.Group, cells: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude of the group `land`."""
    latitude, longitude = _land(root, ("latitude", "longitude"), cells).values()
    return latitude, longitude


def read_land(root: zarr.Group, name: str, cells: slice = slice(None)) -> np.ndarray:
    """A variable of the group `land` over (cell,) or (cell, patch), in the registry's unit."""
    return _land(root, (name,), cells)[name]


def _land(root: zarr.Group, names: Sequence[str], cells: slice) -> dict[str, np.ndarray]:
    entries = [registry.variable(name) for name in names]
    dims = [("cell",) if entry.axis is None else ("cell", entry.axis) for entry in entries]
    units = [entry.unit for entry in entries]
    return read_regions(root, "land", names, {"cell": cells}, dims=dims, units=units)


def number_of_cells(root: zarr.Group) -> int:
    """Size of the cell axis."""
    return len(read_land(root, "latitude"))


def number_of_patches(root: zarr.Group) -> int:
    """Size of the patch axis."""
    array = existing_array(root, "land", "patch_fraction")
    return dict(zip(dimensions(array), array.shape, strict=True))["patch"]


def land_checksum(root: zarr.Group) -> str:
    """Checksum of the group `land`."""
    return group_checksum(existing_group(root, "land"))


def merged(base: State, part: State, chosen: np.ndarray) -> State:
    """A copy of `base` with the chosen columns taken from `part`."""
    arrays = []
    for old, new in zip(base, part, strict=True):
        field = np.array(old)
        field[chosen] = new
        arrays.append(field)
    return State(*arrays)


def failed_columns(before: State, after: State) -> np.ndarray:
    """Columns with a number that was finite before a run and is not after it."""
    failed = np.zeros(len(before[0]), dtype=bool)
    for old, new in zip(before, after, strict=True):
        lost = np.isfinite(old) & ~np.isfinite(new)
        failed |= lost.reshape(len(failed), -1).any(axis=1)
    return failed


def cells_with(columns: np.ndarray, cell_of_column: np.ndarray, cells: int) -> np.ndarray:
    """Cells (boolean) that have one of the chosen columns."""
    found = np.zeros(cells, dtype=bool)
    found[cell_of_column[columns]] = True
    return found


def identity_sections(config: ExperimentConfig, sections: Sequence[str]) -> Mapping[str, Any]:
    """Sections of the configuration as plain values."""
    return config.model_dump(mode="json", include=set(sections))


def named_cells(root: zarr.Group, reasons: Mapping[int, str]) -> list[str]:
    """`cell 17 (43.625N 0.875E): why` of cells by number."""
    latitude, longitude = (read_land(root, name).astype(np.float64) for name in ("latitude", "longitude"))
    places = Places(latitude, longitude, np.arange(len(latitude)))
    return [f"{places.name(cell)}: {reason}" for cell, reason in reasons.items()]
