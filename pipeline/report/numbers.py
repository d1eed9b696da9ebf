"""The numbers of a report as plain JSON: what `ldas report RUN --json FILE` writes."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ldas.pipeline.report.forecast_section import forecast_table
from ldas.pipeline.report.run_facts import run_numbers
from ldas.pipeline.report.sources import Sources
from ldas.pipeline.store.provenance import code_version, name_of


def report_numbers(sources: Sources) -> dict[str, Any]:
    """Summary, tables, quality codes, run times and volumes."""
    scores, plan = sources.scores, sources.plan
    quality = {}
    for experiment in plan.experiments:
        if scores.has(f"quality_{experiment.name}"):
            counts = scores.dataset(f"quality_{experiment.name}")
            labels = counts["code"].values
            quality[experiment.name] = {
                str(name): {str(label): int(value) for label, value in zip(labels, values.values, strict=True) if value}
                for name, values in counts.data_vars.items()
            }
    numbers: dict[str, Any] = {
        "run": name_of(scores.location.url),
        "code": code_version(),
        "synthetic": sources.synthetic,
        "cells": plan.cells,
        "open_loop": plan.open_loop,
        "experiments": {e.name: {"first": str(e.days[0]), "last": str(e.days[-1])} for e in plan.experiments},
        "compared": {"first": str(plan.days[0]), "last": str(plan.days[-1]), "days": len(plan.days)},
        "notes": list(scores.notes),
        "summary": sources.summary,
        "tables": {
            "sigma40": _records(sources.score_table("sigma40_observations")),
            "lai": _records(sources.score_table("lai_observations")),
            "stations": _records(sources.station_table),
            "forecasts": _records(forecast_table(sources)),
        },
        "quality": quality,
    }
    return plain(numbers) | run_numbers(sources.status, sources.volumes)


def _records(table: pd.DataFrame | None) -> list[dict[Any, Any]]:
    return [] if table is None else table.to_dict("records")


def plain(value: Any) -> Any:
    """Numbers that every reader of JSON knows: not a number becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
