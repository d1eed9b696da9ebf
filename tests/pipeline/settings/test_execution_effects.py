"""No key of the section `execution` without effect: another value of each shows in what is built from it."""

import tempfile
from pathlib import Path
from typing import Any

import pytest

from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.execution.cluster import cluster_arguments, scheduler_address
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.open_loop import OpenLoop
from tests.helpers.synthetic_store import make_store
from tests.helpers.toy import Silence, toy
from tests.pipeline.settings.test_effects import Changed, plan, shown, stage_of, with_value
from tests.pipeline.settings.test_every_key import every_key


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Land and weather of two cells."""
    path = tmp_path_factory.mktemp("effects") / "store"
    make_store(path, cells=2, days=1)
    return path


def turns_on_cards(config: ExperimentConfig) -> Any:
    """What tasks need of the worker that takes them."""
    return dict(stage_of(config, OpenLoop).resources)


def run_of_the_toy(config: ExperimentConfig, *, fault: bool = False) -> Silence:
    """Runs four blocks of three periods; with a fault, the first task fails once."""
    folder = Path(tempfile.mkdtemp(dir=Path(config.store.url).parent))
    (folder / "fails").touch()
    stage, listener = toy(folder / "store", flaky_file=str(folder / "fails") if fault else ""), Silence()
    run_experiment(config, listener, stages=lambda config: iter([stage]))
    return listener


def first_blocks(config: ExperimentConfig) -> Any:
    """Whether the first block is done with its three periods before another begins."""
    return [result.block for result in run_of_the_toy(config).results[:3]] == [0, 0, 0]


def run_with_a_fault(config: ExperimentConfig) -> Any:
    """Tasks done and failed of a run whose first task fails once."""
    listener = run_of_the_toy(config, fault=True)
    return len(listener.results), len(listener.failed)


def cluster(config: ExperimentConfig) -> Any:
    """What the class of the cluster gets."""
    settings = config.execution.cluster
    return scheduler_address(settings) if settings.kind == "address" else cluster_arguments(settings)


def at(value: Any, **cluster_keys: Any) -> Changed:
    return Changed(value, cluster, {"cluster": cluster_keys})


TABLE: dict[str, Changed] = {
    "device": Changed("gpu", turns_on_cards),
    "cells_per_block": Changed(1, plan, {"days_per_period": 10}),
    "days_per_period": Changed(7, plan, {"cells_per_block": 2}),
    "window": Changed(1, first_blocks, {"cluster": {"workers": 1}}),
    "retries": Changed(0, run_with_a_fault, {"retries": 1, "cluster": {"workers": 1}}),
    "cluster.kind": at("slurm"),
    "cluster.workers": at(3),
    "cluster.threads_per_worker": at(3),
    "cluster.processes": at(True, workers=1),
    "cluster.memory_limit": at("4GiB", kind="slurm"),
    "cluster.address": at("tcp://127.0.0.1:2", kind="address", address="tcp://127.0.0.1:1"),
    "cluster.options": at({"queue": "cpu"}, kind="slurm"),
}


def test_every_key_has_an_entry() -> None:
    assert {f"execution.{key}" for key in TABLE} == {key for key in every_key() if key.startswith("execution.")}


@pytest.mark.parametrize("key", TABLE)
def test_another_value_shows(store: Path, key: str) -> None:
    entry = TABLE[key]
    usual, again = (shown(store, entry.shows, {"execution": entry.beside}) for _ in range(2))
    assert usual == again, "differs by itself"
    assert shown(store, entry.shows, {"execution": with_value(entry.beside, key, entry.value)}) != usual
