"""The experiment file: one strict model, every key with its meaning, unit and default."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, TypeAdapter, field_validator, model_validator

from ldas.landmodel.array_types import Days
from ldas.landmodel.errors import LdasError
from ldas.landmodel.vegetation_table import VEGETATION_OF_PATCH, vegetation_table
from ldas.pipeline import registry
from ldas.pipeline.settings.acceptance import InputCheck
from ldas.pipeline.settings.assimilation import (
    MODEL_VARIABLE,
    AssimilatedConfig,
    AssimilationConfig,
    Name,
    OperatorConfig,
    WindowConfig,
    filter_options,
    operator_options,
)
from ldas.pipeline.settings.estimated_errors import require_given_bias
from ldas.pipeline.settings.execution import ExecutionConfig, refuse_other_machines
from ldas.pipeline.settings.forecast import ForecastConfig, window_days
from ldas.pipeline.settings.land_options import LandOptions
from ldas.pipeline.settings.metadata import MetadataConfig
from ldas.pipeline.settings.twin import GlobeConfig, TwinConfig
from ldas.pipeline.settings.yaml_file import StrictModel, load_model
from ldas.pipeline.store.location import Location, absolute_url, public_url

FIRST_DATE, LAST_DATE = date(1678, 1, 1), date(2261, 12, 31)  # what nanoseconds of 64 bits can count


def _variable(value: str) -> str:
    try:
        registry.variable(value)
    except LdasError as error:
        raise ValueError(str(error)) from error
    return value


VariableName = Annotated[str, AfterValidator(_variable)]


class StoreConfig(StrictModel):
    """Where everything is read from and written to."""

    url: str = Field(
        description="Folder (relative to the experiment file), fsspec URL, or icechunk+file://, icechunk+s3://"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="fsspec options such as endpoint_url; credentials come from the environment"
    )

    @model_validator(mode="after")
    def _checked(self) -> Self:
        try:
            Location(self.url, self.options)
        except LdasError as error:
            raise ValueError(str(error)) from error
        return self

    def relative_to(self, folder: Path) -> Self:
        """The same store, its path from a folder on."""
        return self.model_copy(update={"url": absolute_url(self.url, folder)})


class IngestStep(StrictModel):
    """One ingestion that the run does first, when its group is not in the store yet or may be continued."""

    source: Name = Field(description="Source as in `ldas ingest SOURCE`")
    config: Path = Field(description="Its configuration file, relative to the experiment file")
    makes: str = Field(
        description="Group of the store that it makes; skipped when that group is complete, unless it ends before the "
        "experiment and the configuration says `append: true`: then later times are appended"
    )


class CycledIngestStep(IngestStep):
    """One ingestion of an experiment, whose files may be corrected later."""

    revise: bool = Field(
        False,
        description="When files are new or have changed, `ldas cycle` reads all of them again and takes over what the "
        "group has otherwise up to its last time: corrected values, and observations that came late",
    )


class PeriodConfig(WindowConfig):
    """First and last day (UTC, both included)."""

    start: date = Field(ge=FIRST_DATE)
    end: date = Field(le=LAST_DATE)

    @property
    def days(self) -> int:
        """Number of days."""
        return (self.end - self.start).days + 1

    @property
    def stop(self) -> date:
        """The day after the last one: the run ends at its 00 UTC."""
        return self.end + timedelta(days=1)


class ModelConfig(LandOptions):
    """Options and parameters of ISBA; docs/open_options.md lists what the sources leave open, with its default."""

    time_step_s: int = Field(1800, description="Model time step (s): a divisor of 3600")
    air_height_m: float = Field(2.0, gt=0, description="Height of the forcing's temperature and humidity (m)")
    wind_height_m: float = Field(10.0, gt=0, description="Height of the forcing's wind (m)")
    cell_size_km: float = Field(
        25.0, gt=0, description="Size of a grid cell (km), for rain over a part of it; without effect unless drip: SGH"
    )
    minimum_fraction: float = Field(
        0.0, ge=0, lt=1, description="Smaller patches are left out and the others scaled up"
    )
    vegetation_of_patch: dict[int, str] = Field(
        default_factory=dict,
        description="Vegetation type (SURFEX code) that stands for a patch, where it is not the default: {4: TEBE}",
    )
    overrides: dict[str, float | tuple[float, ...]] = Field(
        default_factory=dict,
        description="Parameters by SURFEX name (such as DROOT, GMES): one value, or one for each of the 12 patches",
    )
    initial_temperature_k: float = Field(
        285.0,
        ge=220,
        le=320,
        description="Soil temperature of a start without spin-up (K); a spin-up has its year's mean",
    )
    analysis_hour_utc: int = Field(9, ge=0, le=23, description="Hour of stored states and of the analysis (UTC)")

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        if self.time_step_s <= 0 or 3600 % self.time_step_s:
            raise ValueError(f"time_step_s {self.time_step_s} does not divide an hour (3600 s)")
        return self

    @model_validator(mode="after")
    def _known_vegetation(self) -> Self:
        table = vegetation_table()
        for patch, code in self.vegetation_of_patch.items():
            if not 1 <= patch <= len(VEGETATION_OF_PATCH) or code not in table:
                raise ValueError(
                    f"vegetation_of_patch {{{patch}: {code}}}: expected a patch 1 to 12 and one of {', '.join(table)}"
                )
        return self

    @property
    def vegetation_types(self) -> tuple[str, ...]:
        """Vegetation type of each of the 12 patches."""
        chosen = {patch - 1: code for patch, code in self.vegetation_of_patch.items()}
        return tuple(chosen.get(index, code) for index, code in enumerate(VEGETATION_OF_PATCH))


class SpinUpConfig(StrictModel):
    """A year of forcing repeated until the slow reservoirs no longer change."""

    year: int = Field(
        ge=FIRST_DATE.year,
        lt=LAST_DATE.year,
        description="Calendar year of forcing that is repeated, from the experiment's first day of the year on; for a "
        "start on 29 February, from 1 March where the year has no such day",
    )
    repetitions: int = Field(20, ge=1, le=1000, description="Number of repetitions, or the most there may be")
    soil_water_drift_kg_m2: float | None = Field(
        None, gt=0, description="A cell stops when its total soil water changes less than this over a year"
    )
    biomass_drift_kg_m2: float | None = Field(
        None, gt=0, description="... and its total biomass (dry matter) changes less than this over a year"
    )

    def span(self, start: date) -> tuple[date, date]:
        """First day of the repeated year, and the day after its last.

        Args:
            start: first day of the experiment.
        """
        return _same_day(start, self.year), _same_day(start, self.year + 1)


def _same_day(day: date, year: int) -> date:
    """The same day of another year; 29 February is the day after 28 February, in other years 1 March."""
    if (day.month, day.day) == (2, 29):
        return date(year, 2, 28) + timedelta(days=1)
    return day.replace(year=year)


class OutputConfig(StrictModel):
    """What runs store, by registry name."""

    mean: tuple[VariableName, ...] = Field(
        ("RN", "H", "LE", "GFLUX", "EVAP", "DRAINAGE", "RUNOFF", "GPP", "RECO"),
        description="Means over each UTC day",
    )
    instant: tuple[VariableName, ...] = Field(
        ("WG1", "WG2", "WG3", "WG4", "WG5", "WG6", "WG7", "WG8", "TG1", "TG2", "WGI2", "LAI", "SWE"),
        description="Values at the analysis hour of each day",
    )
    per_patch: tuple[VariableName, ...] = Field((), description="Those of the above that are stored per patch too")

    @model_validator(mode="after")
    def _known(self) -> Self:
        both = set(self.mean) & set(self.instant)
        if both:
            raise ValueError(f"{', '.join(sorted(both))} in both mean and instant: choose one")
        unknown = set(self.per_patch) - set(self.mean) - set(self.instant)
        if unknown:
            raise ValueError(f"per_patch {', '.join(sorted(unknown))}: name it in mean or instant too")
        layered = [n for n in (*self.mean, *self.instant) if registry.variable(n).axis]
        if layered:
            raise ValueError(f"{', '.join(layered)}: name the layers one by one, such as {layered[0]}2")
        return self


class OpenLoopConfig(StrictModel):
    """The model run without observations."""

    name: Name = Field("open_loop", description="Name of the run in the store")
    restart_on: tuple[date, ...] = Field((), description="Further days at whose analysis hour a restart is stored")


class CycleConfig(StrictModel):
    """What `ldas cycle` does beside `ldas run`."""

    look_back_days: int | None = Field(
        None,
        ge=1,
        description="Days before the last analysed one in which `ldas cycle` looks for forcing and observations that "
        "were corrected or came late; default: all",
    )


class ExperimentConfig(StrictModel):
    """An experiment: `ldas run EXPERIMENT.yaml`."""

    name: Name = Field(description="Name of the experiment")
    description: str = Field("", description="What it is, shown in the report")
    synthetic: bool = Field(False, description="True when the data are synthetic; every output then says so")
    metadata: MetadataConfig | None = Field(None, description="What files of `ldas export` say of their making")
    store: StoreConfig
    ingest: tuple[CycledIngestStep, ...] = ()
    accept: tuple[InputCheck, ...] = Field(
        (),
        description="Checks of plausibility that land and forcing of the store need not pass: [night_shortwave]; "
        "other_device: a run resumes on another device than the one that began it",
    )
    period: PeriodConfig
    model: ModelConfig = ModelConfig()
    twin: TwinConfig | None = Field(None, description="Synthetic land, forcing, truth and observations, made first")
    globe: GlobeConfig | None = Field(None, description="Synthetic land and weather of the whole globe, made first")
    spin_up: SpinUpConfig | None = None
    output: OutputConfig = OutputConfig()
    open_loop: OpenLoopConfig = OpenLoopConfig()
    operators: tuple[OperatorConfig, ...] = Field((), description="Observation operators to train on the open loop")
    assimilation: tuple[AssimilationConfig, ...] = Field((), description="Assimilations, started from the open loop")
    forecasts: tuple[ForecastConfig, ...] = Field((), description="Forecasts from the analyses of assimilations")
    report: bool = Field(True, description="Write the report when everything is done")
    execution: ExecutionConfig = ExecutionConfig()
    cycle: CycleConfig = CycleConfig()

    @field_validator("assimilation")
    @classmethod
    def _with_one_left_out(cls, runs: tuple[AssimilationConfig, ...]) -> tuple[AssimilationConfig, ...]:
        return tuple(one for run in runs for one in (run, *run.without_one()))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        outside = [day for day in self.open_loop.restart_on if not self.period.start <= day <= self.period.end]
        if outside:
            raise ValueError(f"open_loop.restart_on {outside[0]} is outside the period")
        self._check_assimilation()
        self._check_forecasts()
        if self.makes_forcing and self.spin_up is not None:
            first, stop = self.spin_up.span(self.period.start)
            if first < self.period.start or stop > self.period.stop:
                raise ValueError(
                    f"spin_up needs the weather of {first} to {stop - timedelta(days=1)}, but weather is made for the "
                    f"period only, {self.period.start} to {self.period.end}: choose a year inside it, or leave spin_up "
                    "out"
                )
        if self.spin_up is not None and "initial_temperature_k" in self.model.model_fields_set:
            raise ValueError(
                "model.initial_temperature_k has no effect with a spin-up, which starts from its year's mean"
            )
        if self.twin is not None and self.twin.from_run is not None:
            idle = sorted({"region", "subset", "masks", "weather"} & self.twin.model_fields_set)
            if idle:
                raise ValueError(
                    f"twin: no effect of {', '.join(idle)} with from_run, whose cells are used: leave them out"
                )
        if self.twin is not None and self.globe is not None:
            raise ValueError("twin and globe both make land and forcing: choose one")
        if (self.twin or self.globe) and not self.synthetic:
            raise ValueError("an experiment with a twin or the globe is synthetic: say `synthetic: true`")
        in_one_process = self.execution.cluster.kind == "local" and not self.execution.cluster.processes
        if not self.location.shared_between_processes and not in_one_process:
            raise ValueError(
                "a memory:// store is seen by one process only: use a folder, or a local cluster of threads"
            )
        return self

    def _check_assimilation(self) -> None:
        names = [self.open_loop.name, *(run.name for run in self.assimilation), *(run.name for run in self.forecasts)]
        if len(set(names)) != len(names):
            raise ValueError(f"runs must have distinct names, got {', '.join(names)}")
        trained = {entry.name for entry in self.operators}
        if len(trained) != len(self.operators):
            raise ValueError(f"operators must have distinct names, got {', '.join(one.name for one in self.operators)}")
        for operator in self.operators:
            training = operator.training
            if training.end < self.period.start or training.start > self.period.end:
                raise ValueError(
                    f"operator {operator.name}: its training, {training.start} to {training.end}, is outside the period"
                )
        direct = {operator.name for operator in self.operators if operator.kind == "direct"}
        for run in self.assimilation:
            if run.bias is not None and run.error_correlations:
                seen = {entry.name for entry in run.observations if entry.operator not in {None, *direct}}
                require_given_bias(run.name, run.bias, run.error_correlations, seen)
            for day in (run.start, run.end):
                if day is not None and not self.period.start <= day <= self.period.end:
                    raise ValueError(f"assimilation {run.name}: {day} is outside the period")
            for entry in run.observations:
                self._check_error_source(run, entry)
                self._check_validation(run, entry)
                if entry.operator is not None and trained and entry.operator not in trained:
                    raise ValueError(
                        f"assimilation {run.name}: operator {entry.operator} is not among those trained: "
                        f"{', '.join(sorted(trained))}"
                    )
                variable = MODEL_VARIABLE.get(entry.name)
                if entry.rescale != "none" and variable not in self.output.instant:
                    raise ValueError(
                        f"assimilation {run.name}: add {variable} to output.instant to rescale {entry.name}"
                    )

    def _check_forecasts(self) -> None:
        for entry in self.forecasts:
            run = next((run for run in self.assimilation if run.name == entry.from_run), None)
            if run is None:
                known = ", ".join(run.name for run in self.assimilation) or "none"
                raise ValueError(f"forecasts {entry.name}: no assimilation {entry.from_run}; there are: {known}")
            windows = self.windows(run)
            starts = entry.starts(windows, self.period.end)
            wanted = len(entry.start_on) or 1
            if len(starts) < wanted:
                span = f"{windows[0]} to {windows[-1]}" if len(windows) else "none"
                raise ValueError(
                    f"forecasts {entry.name}: {len(starts)} of {wanted} forecasts can be made: they start from the "
                    f"analyses of {run.name} ({span}) and, with the open loop's forcing, end by {self.period.end}"
                )

    def windows(self, run: AssimilationConfig) -> Days:
        """Days of the analyses of an assimilation."""
        first, last = run.start or self.period.start, run.end or self.period.end
        return window_days(first, last, self.model.analysis_hour_utc)

    def _check_error_source(self, run: AssimilationConfig, entry: AssimilatedConfig) -> None:
        source = entry.error_model.from_run
        earlier = self.assimilation[: self.assimilation.index(run)]
        if source and not any(
            other.name == source and entry.name in [observation.name for observation in other.observations]
            for other in earlier
        ):
            raise ValueError(
                f"assimilation {run.name}: the error of {entry.name} follows from {source}, which must be an "
                f"assimilation of {entry.name} before it in the list"
            )

    def _check_validation(self, run: AssimilationConfig, entry: AssimilatedConfig) -> None:
        """Refuses errors that follow from validation samples which an operator of this file does not have."""
        predicted_together = [one.operator for one in run.observations].count(entry.operator) > 1
        asked = entry.error_model.kind == "validation" or (
            run.error_correlations == "validation" and predicted_together
        )
        operator = next((one for one in self.operators if one.name == entry.operator), None)
        if not asked or operator is None:
            return
        fractions = {"neural": operator.neural.validation_fraction, "pooled": operator.pooled.validation_fraction}
        if fractions.get(operator.kind) == 0.0 or operator.kind in ("water_cloud", "direct"):
            raise ValueError(
                f"assimilation {run.name}: the errors of {entry.name} are to be those of the validation of operator "
                f"{operator.name} (kind: {operator.kind}), which keeps no samples out of its training: give errors of "
                "another kind, or train a network with a `validation_fraction` above 0"
            )

    @property
    def location(self) -> Location:
        """Location of the store."""
        return Location(self.store.url, dict(self.store.options))

    @property
    def makes_forcing(self) -> bool:
        """Whether a stage of the experiment makes land and forcing, which are synthetic."""
        return self.globe is not None or (self.twin is not None and self.twin.from_run is None)

    @property
    def forcing_spans(self) -> list[tuple[date, date]]:
        """From when to when the forcing is needed: the period, and the year of the spin-up."""
        spans = [(self.period.start, self.period.stop)]
        if self.spin_up:
            spans.append(self.spin_up.span(self.period.start))
        return spans


def load_experiment(path: Path) -> ExperimentConfig:
    """Reads and checks an experiment file; relative paths in it are made relative to its folder."""
    config = load_model(path, ExperimentConfig)
    cluster = config.execution.cluster
    refuse_other_machines(path, cluster, f"ldas run {path.name} --address {public_url(cluster.address or '')}, or ")
    folder = path.resolve().parent
    config = config.model_copy(update={"store": config.store.relative_to(folder)})
    if config.twin is not None and config.twin.nature is not None:
        twin = config.twin.model_copy(update={"nature": folder / config.twin.nature.expanduser()})
        config = config.model_copy(update={"twin": twin})
    steps = tuple(step.model_copy(update={"config": folder / step.config.expanduser()}) for step in config.ingest)
    return config.model_copy(update={"ingest": steps})


def json_schema() -> str:
    """JSON schema of the experiment file, for editors and documentation; with the options of installed packages."""
    schema = ExperimentConfig.model_json_schema()
    for model, key, options in (
        ("OperatorConfig", "kind", operator_options()),
        ("AssimilationConfig", "filter", filter_options()),
    ):
        rules = []
        for name, dataclass_of in options.items():
            entry = TypeAdapter(dataclass_of).json_schema(ref_template=f"#/$defs/{name}.{{model}}")
            schema["$defs"] |= {f"{name}.{inner}": rule for inner, rule in entry.pop("$defs", {}).items()}
            chosen = {"properties": {key: {"const": name}}, "required": [key]}
            rules.append({"if": chosen, "then": {"properties": {"options": {**entry, "additionalProperties": False}}}})
        schema["$defs"][model] |= {"allOf": rules} if rules else {}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
