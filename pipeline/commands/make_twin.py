"""`ldas twin EXPERIMENT.yaml`: the twin of an experiment in its store, without running the experiment."""

from collections.abc import Callable, Iterator
from pathlib import Path

from ldas.pipeline.commands.run import RunResult, run_experiment
from ldas.pipeline.execution.run_stages import Listener
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.settings.twin import TwinConfig
from ldas.pipeline.store.location import Location
from ldas.pipeline.twin.stages import twin_stages


def make_twin(
    config: ExperimentConfig,
    settings: TwinConfig,
    listener: Listener,
    *,
    url: str | Path | None = None,
    from_run: str | None = None,
    from_url: str | None = None,
    message: Callable[[str], None] = lambda text: None,
) -> RunResult:
    """Makes land, forcing, truth and observations, or (from_run) only the observations of an existing run.

    Started again, it resumes.

    Args:
        config: period, model time step, analysis hour, execution.
        settings: its section `twin`.
        url: another store than the configuration's.
        from_run, from_url: instead of those of `settings`.

    Raises:
        ConfigurationError: settings that contradict each other.
        StoreError: if real data would be replaced.
    """
    if url is not None:
        location = Location(str(url), dict(config.store.options))
        config = config.model_copy(update={"store": config.store.model_copy(update={"url": location.url})})
    if from_run is not None:
        settings = TwinConfig(**{**settings.model_dump(), "from_run": from_run, "from_url": from_url})

    def stages(config_: ExperimentConfig) -> Iterator[Stage]:
        return twin_stages(config_, settings)

    return run_experiment(config, listener, message=message, stages=stages)
