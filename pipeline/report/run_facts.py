"""What is known of the run itself: how much of it is done, how long it took, how much it stored, what made it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import yaml
import zarr

from ldas.pipeline.evaluation.reading import attributes
from ldas.pipeline.forcing.estimated import estimates_of
from ldas.pipeline.settings.acceptance import ACCEPTED, MEANING
from ldas.pipeline.stages.land import DEVICES
from ldas.pipeline.store import ledger

VOLUME_GROUPS = (
    "land",
    "forcing",
    "observations",
    "insitu",
    "operators",
    "runs",
    "restarts",
    "ledger",
    "truth",
    "scores",
)


def status_table(root: zarr.Group) -> pd.DataFrame:
    """One row per stage: cell-periods by status, and where it was recorded, its time and that of its tasks together."""
    rows = []
    for name in ledger.experiments(root):
        statuses = ledger.statuses(root, name)
        row: dict[str, Any] = {"run": name}
        for code, words in enumerate(ledger.STATUS_NAMES):
            row[words] = int(np.count_nonzero(statuses == code))
        recorded = attributes(root, ledger.path_of(name))
        for column, key in (("run time (s)", "seconds"), ("task time (s)", "task_seconds")):
            seconds = recorded.get(key)
            row[column] = float(seconds) if isinstance(seconds, int | float) else float("nan")
        rows.append(row)
    return pd.DataFrame(rows)


def failure_lines(root: zarr.Group) -> list[str]:
    """What went wrong, block by block."""
    return [
        f"{name}, block {block}: {message}"
        for name in ledger.experiments(root)
        for block, message in ledger.failures(root, name).items()
    ]


def accepted_lines(root: zarr.Group, experiments: list[str]) -> list[str]:
    """What runs took although it did not pass, or need not have passed, a check of plausibility."""
    return [
        f"{name} accepted {MEANING.get(check, check)} (`accept: [{check}]`)."
        for name in experiments
        for check in attributes(root, f"runs/{name}").get(ACCEPTED, [])
    ]


def estimated_table(root: zarr.Group) -> pd.DataFrame:
    """One row for each way in which values of the forcing were made that were not measured; empty without any."""
    return pd.DataFrame(
        [
            {
                "variable": item.variable,
                "method": item.method,
                "source": item.source,
                "share of the hours (%)": round(100.0 * item.share, 2),
            }
            for item in estimates_of(attributes(root, "forcing"))
        ]
    )


def volume_table(root: zarr.Group) -> pd.DataFrame:
    """Bytes of each group of the store: as numbers in memory and as stored."""
    rows = []
    for name in VOLUME_GROUPS:
        if name not in root:
            continue
        group = root[name]
        if not isinstance(group, zarr.Group):
            continue
        arrays = [item for _, item in group.members(max_depth=None) if isinstance(item, zarr.Array)]
        stored = sum(array.nbytes_stored() for array in arrays)
        rows.append(
            {
                "group": name,
                "arrays": len(arrays),
                "in memory (MB)": round(sum(array.nbytes for array in arrays) / 1e6, 3),
                "stored (MB)": round(stored / 1e6, 3),
            }
        )
    return pd.DataFrame(rows)


def run_numbers(status: pd.DataFrame, volumes: pd.DataFrame) -> dict[str, Any]:
    """For `--json`: seconds of each stage whose time was recorded, cell-periods by status, MB of each group.

    Args:
        status: see `status_table`.
        volumes: see `volume_table`.
    """
    records = status.to_dict("records")
    return {
        "run_time_s": {row["run"]: row["run time (s)"] for row in records if np.isfinite(row["run time (s)"])},
        "status": {row["run"]: {words: row[words] for words in ledger.STATUS_NAMES} for row in records},
        "stored_mb": {row["group"]: row["stored (MB)"] for row in volumes.to_dict("records")},
    }


def provenance_texts(root: zarr.Group, experiments: list[str]) -> list[tuple[str, str]]:
    """Configuration and provenance of each run, as YAML; what several runs share is said once."""
    texts: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    for name in experiments:
        of_run = attributes(root, f"runs/{name}")
        found: Mapping[str, Any] = of_run.get("provenance", {})
        if DEVICES in of_run:
            found = {**found, DEVICES: of_run[DEVICES]}
        text = (
            yaml.safe_dump(dict(found), sort_keys=False, allow_unicode=True, width=100) if found else "not recorded\n"
        )
        if text in seen:
            texts.append((f"Configuration and provenance of {name}", f"the same as that of {seen[text]}\n"))
            continue
        seen[text] = name
        texts.append((f"Configuration and provenance of {name}", text))
    return texts
