"""`ldas demo`: the synthetic twin in small, from an empty folder to the report."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from ldas.pipeline.commands.run import RunResult, run_experiment
from ldas.pipeline.errors import PipelineError
from ldas.pipeline.execution.run_stages import Listener
from ldas.pipeline.settings.experiment import load_experiment

EXPERIMENT = "experiment.yaml"


def run_demo(out: Path, listener: Listener, *, message: Callable[[str], None]) -> RunResult:
    """Writes the experiment file to `out`, runs or resumes it, and writes the report.

    An experiment file that is there is kept: a demo of another version, or one that was edited, resumes as it is.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        experiment = out / EXPERIMENT
        if not experiment.exists():
            experiment.write_text(experiment_text(), encoding="utf-8")
    except OSError as error:
        raise PipelineError(f"{out}: cannot be written ({error.strerror})") from error
    message(f"SYNTHETIC: land, weather and observations are made by a generator, nothing was measured ({experiment})")
    return run_experiment(load_experiment(experiment), listener, message=message)


def experiment_text() -> str:
    """The demo's experiment file: packed with the program, or `examples/demo.yaml` of the checkout."""
    packed: Any = files("ldas.pipeline") / "demo.yaml"
    path = packed if packed.is_file() else Path(__file__).resolve().parents[2] / "examples" / "demo.yaml"
    return str(path.read_text(encoding="utf-8"))
