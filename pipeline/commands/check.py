"""`ldas check`: everything that can be known before computing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr

from ldas.landmodel.gpu import CardError, find_card
from ldas.landmodel.screen_level import SCREEN_HEIGHT
from ldas.pipeline import registry
from ldas.pipeline.errors import ConfigurationError, PipelineError, RegistryError, StoreError, count
from ldas.pipeline.execution.device import without_advice
from ldas.pipeline.execution.stage import differences, refuse_other_configuration
from ldas.pipeline.forcing.check import forcing_problems
from ldas.pipeline.forcing.estimated import estimates_of
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.acceptance import MEANING, way_on
from ldas.pipeline.settings.assimilation import OWN_FILTERS, SCREEN_OBSERVATIONS, AssimilationConfig, OperatorConfig
from ldas.pipeline.settings.execution import ExecutionConfig
from ldas.pipeline.settings.experiment import CycledIngestStep, ExperimentConfig
from ldas.pipeline.settings.forecast import ForecastConfig
from ldas.pipeline.stages.forecast import forecast_forcing
from ldas.pipeline.stages.labels import instants
from ldas.pipeline.stages.land import (
    CELLS_LISTED,
    FORCING_NAMES,
    LAND_NAMES,
    accepted_checks,
    check_cells,
    forcing_times,
    land_of,
    named_cells,
    number_of_cells,
    read_forcing,
    read_land,
)
from ldas.pipeline.stages.observations import good_values, overpasses_a_day, read_observations, require_hours
from ldas.pipeline.stages.open_loop_departures import is_judged
from ldas.pipeline.store import cf, ledger
from ldas.pipeline.store.arrays import (
    absence,
    dimensions,
    existing_array,
    existing_group,
    has_group,
    open_store,
    read_times,
)
from ldas.pipeline.store.icechunk_store import unfinished
from ldas.pipeline.store.lease import holder
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.opening import exists, require_room
from ldas.pipeline.twin.globe_stage import GLOBE
from ldas.pipeline.twin.land import require_subset
from ldas.pipeline.twin.observation_stage import UNITS
from ldas.pipeline.twin.stages import TWIN

_CHECK_BLOCK = (8784, 64)  # records and cells of the forcing that are held at a time: a shard of ingestion
BY_RUN = "made by the run"


@dataclass(frozen=True)
class CheckRow:
    """One line of `ldas check`."""

    what: str
    state: str  #: ok, accepted (wrong, but the configuration takes it), missing or wrong
    detail: str


def check_experiment(config: ExperimentConfig, *, values: bool = True) -> list[CheckRow]:
    """Everything that can be known before computing: inputs, their span and values, an earlier run of other settings.

    Args:
        values: read the whole forcing and all observations of the experiment for gaps, ranges and units.
    """
    device, rows = _check_device(config.execution)
    with unfinished(config.location):
        return _check_experiment(config.model_copy(update={"execution": device}), values, rows)


def _check_experiment(config: ExperimentConfig, values: bool, device: list[CheckRow]) -> list[CheckRow]:
    rows = [CheckRow("configuration", "ok", _configuration(config)), *device]
    rows += _check_twin(config)
    rows += [_check_operator(operator, config) for operator in config.operators]
    rows += [_check_estimates(run, config) for run in config.assimilation if run.estimates_errors]
    rows += [_check_left_out(run) for run in config.assimilation if run.leave_one_out]
    rows += [row for run in config.assimilation for row in _check_screen_level(run, config)]
    rows += [_check_correlations(run) for run in config.assimilation if run.error_correlations]
    rows += [_check_ingest(step) for step in config.ingest]
    if not exists(config.location):
        state, detail = "ok" if config.ingest or config.makes_forcing else "missing", "is not there yet"
        detail = f"{config.location.url} {detail}"
        try:
            require_room(config.location)
        except StoreError as error:
            state, detail = "wrong", str(error)
        rows.append(CheckRow("store", state, detail))
        if config.makes_forcing:
            made = {step.makes for step in config.ingest}
            unmade = [group for group in _observed(config) if not _by_run(group, config, made)]
            rows += [CheckRow(group, "missing", "the run does not make it") for group in unmade]
        return rows
    root = open_store(config.location)
    rows.append(CheckRow("store", "ok", config.location.url))
    writer = holder(config.location)
    if writer is not None:
        rows.append(CheckRow("writer", "ok", f"{writer}; {writer.outlook}"))
    made = {step.makes for step in config.ingest} | ({"land", "forcing"} if config.makes_forcing else set())
    for group, names in (("land", LAND_NAMES), ("forcing", (*FORCING_NAMES, "time"))):
        rows.append(_check_group(root, group, names, made))
    if all(row.state in ("ok", "accepted") and row.detail != BY_RUN for row in rows):
        unusable = _unusable_cells(root, config)
        rows.append(_check_land(root, config, unusable))
        rows += _check_forcing_span(root, config)
        rows += _check_estimated(root)
        rows += [_check_forecasts(root, entry, config, made) for entry in config.forecasts]
        if values:
            maker = GLOBE if config.globe is not None else TWIN
            if config.makes_forcing and not (maker in ledger.experiments(root) and ledger.is_complete(root, maker)):
                rows.append(CheckRow("forcing values", "ok", BY_RUN))
            else:
                rows += _check_forcing_values(root, config, unusable)
            rows += _check_observations(root, config, made)
        rows += _check_earlier_run(root, config)
    return rows


def _configuration(config: ExperimentConfig) -> str:
    """Name and period of an experiment, and every key that has another value than its default."""
    elsewhere = {"name", "description", "store", "period", "ingest"}
    chosen = config.model_dump(mode="json", exclude_defaults=True, exclude=elsewhere)
    return "; ".join((f"{config.name}: {config.period.start} to {config.period.end}", *_chosen(chosen)))


def _chosen(value: Any, key: str = "") -> Iterator[str]:
    """`key = value` of all that is in sections and in lists of named sections, keys with dots."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _chosen(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, inner in enumerate(value, start=1):
            yield from _chosen(inner, f"{key}.{inner.get('name', number)}")
    else:
        yield f"{key} = {json.dumps(value)}"


def _check_device(settings: ExecutionConfig) -> tuple[ExecutionConfig, list[CheckRow]]:
    """On what the land model would compute, where it is not the processor anyway; the settings with what is known."""
    if settings.device == "cpu":
        return settings, []
    if settings.cluster.kind != "local":
        return settings, [CheckRow("device", "ok", "the run asks its workers for their cards")]
    try:
        card = find_card()
    except CardError as missing:
        if settings.device == "gpu":
            return settings, [CheckRow("device", "missing", str(missing))]
        return settings.computed_on([]), [CheckRow("device", "ok", f"cpu, as {without_advice(missing)}")]
    return settings.computed_on([card.name]), [CheckRow("device", "ok", f"gpu: {card}")]


def _check_twin(config: ExperimentConfig) -> Iterator[CheckRow]:
    """Whether the cells of a twin are some that it has."""
    if config.twin is not None:
        try:
            require_subset(config.twin)
        except ConfigurationError as error:
            yield CheckRow("twin", "wrong", str(error))


def _check_operator(operator: OperatorConfig, config: ExperimentConfig) -> CheckRow:
    """Whether the open loop stores what an operator is trained on."""
    missing = [name for name in operator.state_names if name not in config.output.instant]
    if missing:
        return CheckRow(f"operator {operator.name}", "wrong", f"add {', '.join(missing)} to output.instant")
    by_hour = operator.time_matching == "overpass"
    if by_hour and config.twin is not None and not config.twin.nature_settings().observations.sigma40.overpass_hours:
        detail = "`time_matching: overpass`, but the twin makes one sigma40 a day: give its nature `overpass_hours`"
        return CheckRow(f"operator {operator.name}", "wrong", detail)
    detail = f"{operator.kind}: {' and '.join(operator.observations)} from {', '.join(operator.predictor_names)}, "
    detail += "each overpass at its own hour" if by_hour else "at the window's end"
    detail += ", those of one model step together" if by_hour and len(operator.observations) > 1 else ""
    return CheckRow(f"operator {operator.name}", "ok", detail)


def _check_estimates(run: AssimilationConfig, config: ExperimentConfig) -> CheckRow:
    """What an assimilation estimates of its own errors, and how far."""
    parts = []
    if (bias := run.bias) is not None:
        names = ", ".join(entry.name for entry in run.observations if entry.assimilate) or "no observation"
        judged = ", ".join(entry.name for entry in run.observations if is_judged(None, config, run, entry))
        names += f" ({judged} judged by the open loop)" if judged else ""
        parts.append(f"the bias of {names}, at most {bias.limit:g} standard deviations of its error")
    if (errors := run.adaptive_errors) is not None:
        for name, (low, high) in {"R": errors.r_bounds, "B": errors.b_bounds}.items():
            parts.append(f"a factor of {name} from {low:g} to {high:g}")
    return CheckRow(f"assimilation {run.name}", "ok", f"estimates, by cell: {'; '.join(parts)}")


def _check_left_out(run: AssimilationConfig) -> CheckRow:
    """The runs that are an assimilation without one observation type."""
    names = ", ".join(other.name for other in run.without_one())
    return CheckRow(f"assimilation {run.name}", "ok", f"is run again without one observation type each: {names}")


def _check_screen_level(run: AssimilationConfig, config: ExperimentConfig) -> Iterator[CheckRow]:
    """Whether what is observed at 2 m can say anything about the soil."""
    names = ", ".join(
        entry.name for entry in run.observations if entry.name in SCREEN_OBSERVATIONS and entry.assimilate
    )
    if not names:
        return
    height = config.model.air_height_m
    if height > SCREEN_HEIGHT:
        yield CheckRow(f"assimilation {run.name}", "ok", f"{names}: between the surface and forcing from {height:g} m")
        return
    detail = (
        f"{names}: the forcing is from {height:g} m (model.air_height_m), so the air at 2 m is that of the forcing, "
        "whatever the soil does: these observations correct nothing"
    )
    yield CheckRow(f"assimilation {run.name}", "accepted", detail)


def _check_correlations(run: AssimilationConfig) -> CheckRow:
    """Which observation errors of an assimilation are correlated."""
    if run.error_correlations == "validation":
        detail = "as the residuals of the operators in their validation samples, cell by cell"
    else:
        detail = ", ".join(f"{' and '.join(pair.between)} {pair.size:g}" for pair in run.error_correlations)
    if run.filter not in OWN_FILTERS:
        detail += f"; filter: {run.filter} is of another package: its documentation says whether it uses them"
    return CheckRow(f"assimilation {run.name}", "ok", f"correlated errors: {detail}")


def _check_ingest(step: CycledIngestStep) -> CheckRow:
    """Whether the configuration of an ingestion is valid and its files are there."""
    from ldas.pipeline.ingest import check_ingest

    what = f"ingest {step.source}"
    if not step.config.exists():
        return CheckRow(what, "missing", str(step.config))
    try:
        number = check_ingest(step.source, step.config)
    except PipelineError as error:
        return CheckRow(what, "wrong", str(error))
    revised = ", revised by `ldas cycle` when they change" if step.revise else ""
    files = f", {count(number, 'file')}" if number else ""
    return CheckRow(what, "ok", f"{step.config}{files}{revised}")


def _check_group(root: zarr.Group, group: str, names: tuple[str, ...], made: set[str]) -> CheckRow:
    if not has_group(root, group):
        state = ("ok", BY_RUN) if group in made else ("missing", absence(root, group))
        return CheckRow(group, *state)
    missing = [name for name in names if name not in existing_group(root, group)]
    return CheckRow(group, "missing" if missing else "ok", ", ".join(missing) or f"{len(names)} variables")


def _unusable_cells(root: zarr.Group, config: ExperimentConfig) -> dict[int, str]:
    """Why the land model cannot run cells, by number; a run sets them aside."""
    unusable: dict[int, str] = {}
    for block in ledger.blocks_of(number_of_cells(root), config.execution.cells_per_block):
        unusable |= land_of(root, block, config.model).unusable
    return unusable


def _check_land(root: zarr.Group, config: ExperimentConfig, unusable: Mapping[int, str]) -> CheckRow:
    if not unusable:
        return CheckRow("cells without land", "ok", f"none of {number_of_cells(root)}")
    kind = "cells_without_land"
    listed = "; ".join(named_cells(root, dict(list(unusable.items())[:CELLS_LISTED])))
    detail = f"{len(unusable)} of {number_of_cells(root)} cells will be set aside: {listed}"
    if len(unusable) > CELLS_LISTED:
        detail += f"; and {len(unusable) - CELLS_LISTED} more"
    if kind in config.accept:
        return CheckRow("cells without land", "accepted", detail)
    return CheckRow("cells without land", "wrong", f"{detail}. {way_on([kind])}")


def _listed(cells: Sequence[int]) -> str:
    more = f" and {len(cells) - CELLS_LISTED} more" if len(cells) > CELLS_LISTED else ""
    return ", ".join(map(str, cells[:CELLS_LISTED])) + more


def _check_forcing_span(root: zarr.Group, config: ExperimentConfig) -> Iterator[CheckRow]:
    from ldas.pipeline.ingest import appends

    times = forcing_times(root)
    grows = any(step.makes == "forcing" and appends(step.source, step.config) for step in config.ingest)
    for begin, end in config.forcing_spans:
        inside = times[0] <= np.datetime64(begin) and np.datetime64(end) <= times[-1]
        to_come = not inside and grows and times[0] <= np.datetime64(begin)
        detail = f"{begin} 00 UTC to {end} 00 UTC needed, {times[0]} to {times[-1]} there"
        more = "; ingestion will append" if to_come else ""
        yield CheckRow("forcing span", "ok" if inside or to_come else "wrong", f"{detail}{more}")


def _check_forecasts(root: zarr.Group, entry: ForecastConfig, config: ExperimentConfig, made: set[str]) -> CheckRow:
    """How many forecasts there will be, and whether the forcing of each is there, if they have their own."""
    windows = config.windows(next(run for run in config.assimilation if run.name == entry.from_run))
    starts = entry.starts(windows, config.period.end)
    detail = f"{len(starts)} of {entry.days} days, from the analyses of {entry.from_run} {starts[0]} to {starts[-1]}"
    if entry.forcing is None:
        return CheckRow(f"forecasts {entry.name}", "ok", f"{detail}, with the forcing of the open loop")
    absent = []
    for start in instants(starts, config.model.analysis_hour_utc):
        group, stop = forecast_forcing(entry.forcing, start), start + np.timedelta64(entry.days, "D")
        times = forcing_times(root, group) if has_group(root, group) else np.array([], dtype="datetime64[s]")
        covered = len(times) and times[0] <= start and stop <= times[-1]
        if not covered and not (group in made and not len(times)):
            absent.append(f"{group} (needed: {start} to {stop})")
    detail += f", with the forcings of {entry.forcing}"
    if absent:
        more = f" and {len(absent) - CELLS_LISTED} more" if len(absent) > CELLS_LISTED else ""
        return CheckRow(f"forecasts {entry.name}", "missing", f"{detail}: {', '.join(absent[:CELLS_LISTED])}{more}")
    return CheckRow(f"forecasts {entry.name}", "ok", detail)


def _check_estimated(root: zarr.Group) -> Iterator[CheckRow]:
    """What of the forcing was not measured: by variable, method, source and share of the hours."""
    for item in estimates_of(existing_group(root, "forcing").attrs):
        yield CheckRow(f"forcing {item.variable}: not measured", "ok", str(item))


def _check_forcing_values(
    root: zarr.Group, config: ExperimentConfig, unusable: Mapping[int, str]
) -> Iterator[CheckRow]:
    """Gaps, ranges, units, night and humidity of the forcing that the experiment needs, read shard by shard."""
    times, spans = forcing_times(root), config.forcing_spans
    first, last = (np.datetime64(day, "s") for day in (min(span[0] for span in spans), max(span[1] for span in spans)))
    records = slice(int(np.searchsorted(times, first)), int(np.searchsorted(times, last, side="right")))
    cells = number_of_cells(root)
    used = np.setdiff1d(np.arange(cells), list(unusable))
    if records.start >= records.stop or not used.size:
        return  # other rows say so
    part = xr.Dataset(
        {name: _lazy_forcing(root, name, records, cells) for name in FORCING_NAMES},
        coords={"time": times[records].astype("datetime64[ns]"), "cell": np.arange(cells)},
    )
    try:
        check_cells(root, existing_group(root, "forcing"), FORCING_NAMES[0])
        latitude, longitude = (read_land(root, name)[used] for name in ("latitude", "longitude"))
        part = part if used.size == cells else part.isel(cell=used)
        problems = forcing_problems(part, latitude, longitude, block=_CHECK_BLOCK)
    except StoreError as error:  # attributes that cannot be decoded, another unit, other cells
        yield CheckRow("forcing", "wrong", str(error))
        return
    accepted = accepted_checks(root, config)
    for problem in problems:
        state = "accepted" if problem.kind in accepted else "wrong"
        more = f"; {problem.count} values in all" if problem.count > 1 else ""
        if len(problem.cells) > 1:
            more += f", in {len(problem.cells)} cells: {_listed(problem.cells)}"
        if state == "wrong" and problem.kind in MEANING:
            more += f". {way_on([problem.kind])}"
        yield CheckRow(f"forcing {problem.name}: {problem.kind}", state, problem.text + more)
    if not problems:
        detail = f"{part.sizes['cell']} cells, {part.sizes['time']} records: no gap, ranges and units as expected"
        yield CheckRow("forcing values", "ok", detail)


def _lazy_forcing(root: zarr.Group, name: str, records: slice, cells: int) -> xr.DataArray:
    """A variable of the forcing, each block of which is read as a run reads it when it is looked at.

    In a unit that a run refuses, it keeps its values and that unit, to be reported with the other problems.
    """
    unit = registry.variable(name).unit
    given = str(existing_array(root, "forcing", name).attrs.get("units", unit))
    refused = cf.conversion(given, unit) is None

    def block(block_info: Any) -> np.ndarray:
        time, cell = block_info[None]["array-location"]
        rows = slice(records.start + time[0], records.start + time[1])
        return read_forcing(root, name, rows, slice(*cell), as_given=refused)

    chunks = tuple(
        tuple(min(step, size - start) for start in range(0, size, step))
        for step, size in zip(_CHECK_BLOCK, (records.stop - records.start, cells), strict=True)
    )
    values = dask.array.map_blocks(block, chunks=chunks, dtype=np.float64, meta=np.empty((0, 0)))
    return xr.DataArray(values, dims=("time", "cell"), attrs={"units": given if refused else unit})


def _check_observations(root: zarr.Group, config: ExperimentConfig, made: set[str]) -> Iterator[CheckRow]:
    """Presence, unit and range of the observations to be assimilated or trained on."""
    for group, name in _observed(config).items():
        if has_group(root, group):
            yield _check_observed(root, group, name, config)
        else:
            by_run = _by_run(group, config, made)
            yield CheckRow(group, *(("ok", BY_RUN) if by_run else ("missing", absence(root, group))))


def _observed(config: ExperimentConfig) -> dict[str, str]:
    """Groups of the observations to be assimilated or trained on, with their names."""
    names = [item.name for run in config.assimilation for item in run.observations]
    names += [name for item in config.operators for name in (*item.observations, item.observed_lai) if name is not None]
    return {f"observations/{name}": name for name in names}


def _by_run(group: str, config: ExperimentConfig, made: set[str]) -> bool:
    """Whether the run makes observations: its ingestion or its twin."""
    return group in made or (config.twin is not None and group.removeprefix("observations/") in UNITS)


def _check_observed(root: zarr.Group, group: str, name: str, config: ExperimentConfig) -> CheckRow:
    """What a run would get of a group of observations, read as the run reads it, some cells at a time."""
    low, high, unit = -np.inf, np.inf, ""
    with suppress(RegistryError):  # a group with a name of its own: nothing is known of its values
        entry = registry.variable(name)
        (low, high), unit = entry.valid_range or (low, high), entry.unit
    usable = outside = total = 0
    try:
        array = existing_array(root, group, "value")
        widths = dict(zip(dimensions(array), array.shards or array.chunks, strict=True))
        cells, width = number_of_cells(root), max(widths.get("cell", 1), _CHECK_BLOCK[1])
        for start in range(0, cells, width):
            _, arrays = read_observations(root, name, Block(0, start, min(start + width, cells)))
            values = good_values(arrays)
            used = np.isfinite(values)
            total += values.size
            usable += int(used.sum())
            outside += int((used & ((values < low) | (values > high))).sum())
        overpasses = overpasses_a_day(root, name)
        by_hour = any(name in item.observations and item.time_matching == "overpass" for item in config.operators)
        if by_hour or name in SCREEN_OBSERVATIONS:
            require_hours(root, name)
    except StoreError as error:
        return CheckRow(group, "wrong", str(error))
    hours = "" if overpasses is None else f", at most {overpasses} overpasses a day at their own hour"
    detail = f"{usable} of {total} values usable{hours}{_earlier_labels(root, group)}"
    if outside:
        detail += f", {outside} of them outside {low:g} to {high:g} {unit}, which no analysis uses"
        if "range" in config.accept:
            return CheckRow(group, "accepted", detail)
        return CheckRow(group, "wrong", f"{detail}. {way_on(['range'])}")
    return CheckRow(group, "ok" if usable else "wrong", detail)


def _earlier_labels(root: zarr.Group, group: str) -> str:
    """What is to be known of daily means that an earlier version ingested; nothing to say of other groups."""
    attributes = existing_group(root, group).attrs
    times = read_times(root, group)
    if "ingests" not in attributes or "time_label" in attributes or (times != times.astype("datetime64[D]")).any():
        return ""
    return (
        "; an earlier version labelled them with the beginning of their day: an analysis uses what was observed up to "
        "24 h after that; ingest them into another store to change it"
    )


def _check_earlier_run(root: zarr.Group, config: ExperimentConfig) -> Iterator[CheckRow]:
    for stage in build_stages(config):
        if stage.name not in ledger.experiments(root):
            continue
        try:
            refuse_other_configuration(stage, differences(root, stage))
        except ConfigurationError as error:
            yield CheckRow(stage.name, "wrong", str(error))
        else:
            yield CheckRow(stage.name, "ok", "will be continued")
