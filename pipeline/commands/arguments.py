"""What arguments of the command line name: an experiment, and a store. It imports the rest when it is called."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ldas.pipeline.settings.experiment import ExperimentConfig
    from ldas.pipeline.store.location import Location


def experiment_of(path: Path, cluster: "dict[str, Any] | None" = None) -> "ExperimentConfig":
    """The experiment, with the cluster settings that were given as options."""
    from ldas.pipeline.settings.execution import OF_SOME_KINDS, ClusterConfig
    from ldas.pipeline.settings.experiment import load_experiment
    from ldas.pipeline.settings.yaml_file import validate

    config = load_experiment(path)
    given = {name: value for name, value in (cluster or {}).items() if value is not None}
    if not given:
        return config
    stored = config.execution.cluster.model_dump()
    kind = given.get("kind", stored["kind"])
    if kind != stored["kind"]:  # another kind has other options
        stored |= {"address": None, "options": {}}
        stored = {key: value for key, value in stored.items() if kind in OF_SOME_KINDS.get(key, (kind,))}
    chosen: ClusterConfig = validate({**stored, **given}, ClusterConfig, source="command line")
    execution = config.execution.model_copy(update={"cluster": chosen})
    return config.model_copy(update={"execution": execution})


def store_of(run: str) -> "tuple[Location, ExperimentConfig | None]":
    """The store that an argument names: itself, an experiment file, or the folder of one, such as that of the demo.

    Returns:
        Its location, and the experiment where a file of it was found.
    """
    from ldas.pipeline.commands.demo import EXPERIMENT
    from ldas.pipeline.store.location import Location

    inside = Path(run) / EXPERIMENT
    file = inside if "://" not in run and inside.is_file() else Path(run) if run.endswith((".yaml", ".yml")) else None
    if file is None:
        return Location(run), None
    config = experiment_of(file)
    return config.location, config
