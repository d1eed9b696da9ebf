"""Which store an argument of the command line means."""

from pathlib import Path

from ldas.pipeline.commands.demo import EXPERIMENT
from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.store.location import Location


def location_of_run(run: str) -> Location:
    """The store that an argument names: itself, an experiment file, or the folder of one, such as that of the demo."""
    inside = Path(run) / EXPERIMENT
    if "://" not in run and inside.is_file():
        return load_experiment(inside).location
    return load_experiment(Path(run)).location if run.endswith((".yaml", ".yml")) else Location(run)
