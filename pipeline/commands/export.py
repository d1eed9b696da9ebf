"""`ldas export`: a store's runs, or maps of its scores, as files that other tools open."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
import zarr

from ldas.landmodel.array_types import Days
from ldas.pipeline import registry
from ldas.pipeline.evaluation.reading import cell_centres, group_names
from ldas.pipeline.evaluation.scores import ROOT
from ldas.pipeline.evaluation.stations import is_synthetic
from ldas.pipeline.export.attributes import global_attributes, metadata_of
from ldas.pipeline.export.dataset import Every, Rows, dataset_of, rows_of
from ldas.pipeline.export.errors import ExportError
from ldas.pipeline.export.outputs import Names, Output, all_outputs, chosen_outputs
from ldas.pipeline.export.source import Run, runs_of
from ldas.pipeline.export.stac import stac_item
from ldas.pipeline.export.write import WRITERS, refuse_existing, write_geotiff
from ldas.pipeline.settings.metadata import MetadataConfig
from ldas.pipeline.store.arrays import decode_labels, has_group, open_lazily, open_store
from ldas.pipeline.store.layout import Grid, Points, layout
from ldas.pipeline.store.lease import holder
from ldas.pipeline.store.location import Location

Format = Literal["netcdf", "zarr", "geotiff"]
Message = Callable[[str], None]
_OF_THE_MODEL = frozenset(name for group in ("state", "flux", "diagnostic") for name in registry.names(group))
_ENDINGS = {"netcdf": ".nc", "zarr": ".zarr", "geotiff": ".tif"}


@dataclass(frozen=True)
class Request:
    """What to export.

    experiments: runs, or `truth`; without any all runs. variables: names of the table or of the store; without any all
    that the table has. start, end: first and last day. every: days one by one, or means over months; GeoTIFF holds one
    map, the mean over the period.
    """

    experiments: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    start: date | None = None
    end: date | None = None
    every: Literal["day", "month"] = "day"
    names: Names = "cmip"
    format: Format = "netcdf"


@dataclass(frozen=True)
class _File:
    rows: Rows
    outputs: dict[str, Output]


@dataclass(frozen=True)
class _Part:
    """What one run gives: its files, and the one that describes them."""

    run: Run
    outputs: dict[str, Output]
    files: dict[Path, _File]
    rows: Rows
    description: Path


def run_export(
    location: Location,
    request: Request,
    out: Path | None = None,
    *,
    metadata: MetadataConfig | None = None,
    message: Message = print,
) -> list[Path]:
    """Writes the files of a store, a folder for each run; returns their paths.

    Args:
        out: folder (default: `<store>_export` beside a local store, in the working folder for a remote one).
        metadata: what the files say of who made them (default: what the experiment file said when the run was made).

    Raises:
        StoreError: if there is no store.
        ExportError: what is asked for is not there, cannot be written in this form, or would replace files.
    """
    root = open_store(location)
    where = _layout(root, request.format)
    folder = out or location.beside("_export")
    every: Every = "period" if request.format == "geotiff" else request.every
    writer = holder(location)
    if writer is not None:
        message(f"the store is being written by {writer}: days that are done in all cells are exported")
    runs = runs_of(root, request.experiments)
    chosen = {run: _outputs(run, request, where) for run in runs}
    _say_what_is_left_out(chosen, request, message)
    parts = [_part(run, outputs, request, every, folder, message) for run, outputs in chosen.items() if outputs]
    if not parts:
        raise ExportError(_nothing(runs, request))
    refuse_existing([path for part in parts for path in (*part.files, part.description)])
    written: list[Path] = []
    for part in parts:
        written += _write(part, metadata or metadata_of(part.run), where, request.format, message)
    return written


def _layout(root: zarr.Group, form: Format) -> Grid | Points:
    if not has_group(root, "land"):
        raise ExportError("the store has no group 'land', which says where its cells are: `ldas ingest land` makes it")
    found = layout(*cell_centres(root))
    if form == "geotiff" and isinstance(found, Points):
        raise ExportError(
            "the cells lie on no regular grid of latitude and longitude, which GeoTIFF needs: --format netcdf and zarr "
            "write them as time series of places"
        )
    return found


def _outputs(run: Run, request: Request, where: Grid | Points) -> dict[str, Output]:
    """What is exported of a run; time series of places have no axis of depth (CF knows them as another feature)."""
    found = chosen_outputs(run, request.names, request.variables)
    if isinstance(where, Points):
        found = {single.name: single for output in found.values() for single in output.by_layer()}
    return found


def _part(
    run: Run, outputs: dict[str, Output], request: Request, every: Every, folder: Path, message: Message
) -> _Part:
    days = _days(run, request, message)
    rows, ending = rows_of(days, every), _ENDINGS[request.format]
    base, own = folder / run.name, f"{run.name}_{every}"
    if request.format == "netcdf":
        years = days.astype("datetime64[Y]")
        files = {
            base / f"{own}_{year}{ending}": _File(rows_of(days[years == year], every), outputs)
            for year in np.unique(years)
        }
    elif request.format == "zarr":
        files = {base / f"{own}{ending}": _File(rows, outputs)}
    else:
        own = f"{run.name}_{days[0]}_{days[-1]}"
        maps = {name: output for name, output in outputs.items() if run.dataset[output.stored].dtype.kind == "f"}
        files = {base / f"{name}_{own}{ending}": _File(rows, {name: output}) for name, output in maps.items()}
    return _Part(run, outputs, files, rows, base / f"{own}.{request.format}.json")


def _days(run: Run, request: Request, message: Message) -> Days:
    days = run.days()
    if days[-1] < run.labels[-1]:
        message(f"{run.path} is done in all cells up to {days[-1]}: later days are not exported")
    first, last = (None if day is None else np.datetime64(day, "D") for day in (request.start, request.end))
    chosen = days[(days >= (first or days[0])) & (days <= (last or days[-1]))]
    if not len(chosen):
        raise ExportError(
            f"{run.path} has no day from {first or days[0]} to {last or days[-1]}: its days are {days[0]} to {days[-1]}"
        )
    return np.asarray(chosen)


def _say_what_is_left_out(chosen: Mapping[Run, dict[str, Output]], request: Request, message: Message) -> None:
    for run, outputs in chosen.items():
        missing = [name for name in request.variables if name not in outputs and f"{name}_1" not in outputs]
        if missing and any(chosen.values()):
            message(f"{run.path} does not store {', '.join(missing)}")
    if not request.variables:
        used = {
            name for outputs in chosen.values() for output in outputs.values() for part in output.parts for name in part
        }
        left = sorted({name for run in chosen for name in run.variables} - used)
        own = [name for name in left if name in _OF_THE_MODEL]
        if left:
            others = f"{len(left) - len(own)} of the filter (innovations, increments, forecasts, codes)"
            message(
                f"not exported, for they have no name in {request.names.upper()}: {', '.join([*own, others])}; "
                "--variable NAME adds one, --names surfex has all"
            )


def _nothing(runs: Sequence[Run], request: Request) -> str:
    table = sorted({name for run in runs for name in all_outputs(run, request.names)})
    stored = sorted({name for run in runs for name in run.variables})
    wanted = ", ".join(request.variables) or f"variables of the table {request.names}"
    return (
        f"{', '.join(run.path for run in runs)} store no {wanted}; with --names {request.names} there are: "
        f"{', '.join(table) or 'none'}; under the names of the store: {', '.join(stored) or 'none'}"
    )


def _write(part: _Part, metadata: MetadataConfig, where: Grid | Points, form: Format, message: Message) -> list[Path]:
    run = part.run
    for path, file in part.files.items():
        attributes = global_attributes(run, metadata, file.outputs, file.rows, where, _identifier(run, path))
        dataset = dataset_of(run, file.outputs.values(), file.rows, where).assign_attrs(attributes)
        if form == "geotiff":
            (output,) = file.outputs.values()
            tags = {**attributes, **output.attributes}
            write_geotiff(dataset[output.name].isel(time=0), path, tags)
        else:
            WRITERS[form](dataset, path, where)
        message(f"{path} ({_size(path) / 1e6:.1f} MB)")
    whole = global_attributes(run, metadata, part.outputs, part.rows, where, _identifier(run, part.description))
    item = stac_item(run, whole, part.outputs, part.rows, where, part.files)
    part.description.write_text(json.dumps(item, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return [*part.files, part.description]


def _identifier(run: Run, path: Path) -> str:
    """Name of the experiment and of a file, without what ACDD does not allow in one."""
    experiment = run.facts.get("provenance", {}).get("configuration", {}).get("name", "ldas")
    return f"{experiment}_{path.name.partition('.')[0]}".replace(" ", "_")


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def export_scores(
    location: Location, name: str, out: Path | None = None, *, experiments: Sequence[str] = (), message: Message = print
) -> list[Path]:
    """Writes maps of a score as GeoTIFF, one for each experiment that it was computed of; returns their paths.

    Args:
        name: comparison and score, such as `LAI_truth/rmsd`.

    Raises:
        ExportError: if the store does not hold it.
    """
    root = open_store(location)
    where = _layout(root, "geotiff")
    assert isinstance(where, Grid)
    comparison, _, score = name.partition("/")
    known = group_names(root, ROOT)
    if not known:
        raise ExportError(f"the store holds no scores: `ldas report {location.url}` makes them")
    if comparison not in known:
        raise ExportError(f"no scores {comparison}; there are: {', '.join(known)}")
    scores = open_lazily(root, f"{ROOT}/{comparison}")
    maps = sorted(str(n) for n, v in scores.data_vars.items() if v.dims == ("series", "cell"))
    if score not in maps:
        raise ExportError(f"no score {score or '(none given)'} of {comparison}; there are: {', '.join(maps)}")
    series = [str(label) for label in decode_labels(scores["series"])]
    chosen = [label for label in series if not experiments or label.partition(" (")[0] in experiments]
    if not chosen:
        raise ExportError(f"{name}: no series of {', '.join(experiments)}; there are: {', '.join(series)}")
    folder = (out or location.beside("_export")) / ROOT
    label_of = {folder / f"{comparison}_{score}_{_word(label)}.tif": label for label in chosen}
    refuse_existing(list(label_of))
    for path, label in label_of.items():
        values = where.on_map(scores[score].values[series.index(label)].astype(np.float32), np.nan)
        places = {"lat": where.latitude, "lon": where.longitude}
        tags = {**scores.attrs, "score": score, "series": label, "synthetic": is_synthetic(root)}
        write_geotiff(xr.DataArray(values, coords=places, dims=where.dims, name=score), path, tags)
        message(f"{path} ({_size(path) / 1e6:.1f} MB)")
    return list(label_of)


def _word(label: str) -> str:
    """`EKF (analysis)` as `EKF_analysis`."""
    return label.replace(" (", "_").replace(")", "").replace(" ", "_")
