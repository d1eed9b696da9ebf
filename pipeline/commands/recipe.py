"""`ldas recipe`: what to download for the region and period of an experiment, from whom, and how it is ingested.

Nothing is downloaded: the folder that is written holds the requests, a page that says what to do with them, and the
configurations with which `ldas run` ingests what has been downloaded.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ldas.pipeline.commands.recipe_sources import Scope, Source, sources
from ldas.pipeline.errors import ConfigurationError, PipelineError
from ldas.pipeline.ingest.config import CellsConfig, Region
from ldas.pipeline.ingest.grid import target_cells
from ldas.pipeline.ingest.run import SOURCES
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.settings.yaml_file import load_model, validate
from ldas.pipeline.store.arrays import has_group, open_store, read_region
from ldas.pipeline.store.opening import exists

PAGE, STEPS = "README.md", "ingest.yaml"
_NATIVE = 0.25  # degrees: cells of which nothing else is known are those of ERA5


def write_recipe(
    config: ExperimentConfig, folder: Path, out: Path, region: tuple[float, float, float, float] | None, step: float
) -> list[Path]:
    """Writes a recipe.

    Args:
        config: the experiment.
        folder: of the experiment file, which the files that it names are beside.
        out: a folder that is new or empty.
        region: south, north, west, east (degrees), instead of the cells that the experiment names.
        step: of that region, degrees.

    Returns:
        The files written.

    Raises:
        ConfigurationError: an experiment whose region is not known.
        PipelineError: a folder that holds something, or cannot be written.
    """
    found = sources(_scope(config, folder, region, step))
    beside = Path(os.path.relpath(out.resolve(), folder.resolve()))
    steps = [
        {"source": source.ingest, "config": (beside / source.config_file).as_posix(), "makes": source.makes}
        for source in found
        if source.ingest
    ]
    content = {PAGE: _page(config, found), STEPS: _yaml(steps)}
    for source in found:
        content |= {name: _text(request) for name, request in source.requests.items()}
        if source.ingest is not None:
            content[source.config_file] = _yaml(source.config)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise PipelineError(f"{out} is not empty: give a new folder (--out), what is there is not overwritten")
        for name, text in content.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise PipelineError(f"{out}: cannot be written ({error.strerror})") from error
    return [out / name for name in content]


def _scope(
    config: ExperimentConfig, folder: Path, region: tuple[float, float, float, float] | None, step: float
) -> Scope:
    observed = {item.name for entry in config.assimilation for item in entry.observations}
    observed |= {name for entry in config.operators for name in entry.observations}
    when = (config.period.start, config.period.stop, frozenset(observed))
    if region is not None:
        south, north, west, east = region
        content = {"south": south, "north": north, "west": west, "east": east, "step": step}
        given = validate(content, Region, source=f"--region {south:g} {north:g} {west:g} {east:g}")
        return _of_cells(CellsConfig(region=given), given.step, *when)
    named = _cells_of_ingests(config, folder)
    if named is not None:
        return _of_cells(*named, *when)
    if exists(config.location) and has_group(root := open_store(config.location), "land"):
        latitude, longitude = (read_region(root, "land", name) for name in ("latitude", "longitude"))
        return Scope.around(latitude, longitude, _NATIVE, None, *when)
    raise ConfigurationError(
        f"the region of experiment '{config.name}' is not known: the store has no land, and no configuration of its "
        "`ingest` steps names cells or a place; give --region SOUTH NORTH WEST EAST (degrees)"
    )


def _cells_of_ingests(config: ExperimentConfig, folder: Path) -> tuple[CellsConfig, float] | None:
    """The cells that a configuration of an ingestion names, and their size, degrees."""
    for entry in config.ingest:
        path = folder / entry.config
        if entry.source not in SOURCES or not path.exists():
            continue
        found: Any = load_model(path, SOURCES[entry.source].config)
        cells, place = getattr(found, "cells", None), getattr(found, "place", None)
        if cells is not None and cells.from_group is None:
            size = cells.region.step if cells.region is not None else getattr(found, "cell_size", _NATIVE)
            return CellsConfig.model_validate(cells.model_dump()), size
        if place is not None:
            return CellsConfig(points=((place.latitude, place.longitude),)), _NATIVE
    return None


def _of_cells(cells: CellsConfig, step: float, *when: Any) -> Scope:
    target = target_cells(cells)
    scope = Scope.around(target.latitude, target.longitude, step, cells, *when)
    region = cells.region
    if region is not None and scope.east - scope.west > region.east - region.west + step / 2:
        raise ConfigurationError(
            f"the region {region.west:g} to {region.east:g} degrees east crosses 180 degrees, where maps are cut: ask "
            "for its two parts (--region), each into a folder of its own"
        )
    return scope


def _yaml(content: Any) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))


def _text(request: Any) -> str:
    return request if isinstance(request, str) else json.dumps(request, indent=1) + "\n"


def _page(config: ExperimentConfig, found: Sequence[Source]) -> str:
    lines = [
        f"# Data for `{config.name}`, {config.period.start} to {config.period.end}",
        "",
        "Written by `ldas recipe`; nothing was downloaded. Requests and licences are as published in 2026: where",
        "the page of a provider says otherwise, it is right. Sizes are those of the values before compression.",
        "",
        "| what | from | licence | size | request | ingested by |",
        "|---|---|---|---|---|---|",
    ]
    for source in found:
        requests = ", ".join(f"`{name}`" for name in source.requests) or "by hand"
        ingested = f"`{source.config_file}`" if source.ingest else "`land.yaml`"
        row = (source.what, source.provider, source.licence, source.size, requests, ingested)
        lines.append(f"| {' | '.join(row)} |")
    for source in found:
        lines += ["", f"## {source.what}", "", source.how]
    lines += [
        "",
        "## Then",
        "",
        f"Put the steps of `{STEPS}` under `ingest:` of the experiment file; their paths are from its folder.",
        "`ldas ingest inspect FILE` says what a downloaded file holds, `ldas check` what is missing; `ldas run`",
        "ingests.",
        "",
    ]
    return "\n".join(lines)
