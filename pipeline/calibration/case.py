"""The YAML file of a calibration (`ldas calibrate CASE.yaml`), as a strict model."""

import difflib
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from ldas.assim.errors import FilterConfigurationError
from ldas.assim.priors import Kind, Prior
from ldas.landmodel.errors import LdasError
from ldas.landmodel.overrides import OVERRIDES, override_range
from ldas.pipeline import registry
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.settings.assimilation import Name, WindowConfig
from ldas.pipeline.settings.execution import ClusterConfig, refuse_other_machines
from ldas.pipeline.settings.experiment import IngestStep, StoreConfig
from ldas.pipeline.settings.yaml_file import StrictModel, load_model
from ldas.pipeline.site.case import SiteCase, load_case
from ldas.pipeline.store.location import Location


class ParameterSettings(StrictModel):
    """A parameter to calibrate: its bounds, and what is believed of it before."""

    low: float = Field(description="Lowest value")
    high: float = Field(description="Highest value")
    prior: Kind = Field("uniform", description="uniform, log_uniform, or normal, cut off at the bounds")
    mean: float | None = Field(None, description="Mean of a normal prior (default: the value that the site has)")
    standard_deviation: float | None = Field(None, gt=0, description="Standard deviation of a normal prior")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.prior == "normal":
            if self.standard_deviation is None:
                raise ValueError("a normal prior needs its standard_deviation")
        elif self.mean is not None or self.standard_deviation is not None:
            raise ValueError(f"mean and standard_deviation belong to prior: normal, the prior is {self.prior}")
        try:
            self.distribution(0.5 * (self.low + self.high))
        except FilterConfigurationError as error:
            raise ValueError(str(error)) from error
        return self

    def distribution(self, site_value: float) -> Prior:
        """The prior; site_value: the value that the site has without calibration."""
        if self.prior != "normal":
            return Prior(self.low, self.high, self.prior)
        assert self.standard_deviation is not None
        mean = min(max(site_value, self.low), self.high) if self.mean is None else self.mean
        return Prior(self.low, self.high, "normal", mean, self.standard_deviation)


class ErrorSettings(StrictModel):
    """Standard deviation of the error of an observation; what is given adds in quadrature.

    It stands for the measurement and for what the model cannot represent.
    """

    column: str | None = Field(None, description="Column of the file with the standard deviation, in the unit given")
    absolute: float | None = Field(None, gt=0, description="Standard deviation in the unit given")
    relative: float | None = Field(None, gt=0, description="Standard deviation as part of the observed value")
    correlation_days: float = Field(
        1.0, ge=1, description="Observations in a row whose errors are alike: together they count as one"
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.column is None and self.absolute is None:
            raise ValueError("give column or absolute: an error relative to a flux of 0 would be 0")
        return self


class ObservedSettings(StrictModel):
    """A series of observations."""

    variable: str = Field(description="Name of the registry: a flux, a diagnostic, LAI or a soil layer such as WG3")
    file: Path | None = Field(None, description="CSV or NetCDF, relative to the case file")
    group: str | None = Field(
        None, description="Instead of a file: group of the case's store, such as insitu/SCAN, which `ingest` makes"
    )
    station: str | None = Field(None, description="Code of the station, where the group has several")
    column: str = Field(description="Column of the CSV file, variable of the NetCDF file or the group")
    unit: str = Field(description="Its unit, such as W m-2, gC m-2 d-1, m3 m-3")
    error: ErrorSettings
    time_column: str = Field("TIMESTAMP", description="Column of a CSV file with the day, or day and hour")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.group is None):
            raise ValueError("give either a file or a group of the store")
        if self.station is not None and self.group is None:
            raise ValueError("no effect of station with a file, only with a group: leave it out")
        return self

    @property
    def place(self) -> str:
        """File or group, for messages."""
        return str(self.file or f"group {self.group}")

    @field_validator("variable")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            entry = registry.variable(name)
        except LdasError as error:
            raise ValueError(str(error)) from error
        if entry.group not in ("state", "flux", "diagnostic") or entry.axis is not None:
            raise ValueError(f"'{name}' is not a single series of the land model; of layers name one, such as WG3")
        return name


class MethodSettings(StrictModel):
    """ES-MDA (Emerick and Reynolds 2013); see `ldas.assim.es_mda`."""

    kind: Literal["es_mda"] = "es_mda"
    assimilations: int = Field(4, ge=1, le=50, description="Number of assimilations of the same observations")
    ensemble_size: int = Field(200, ge=10, le=100_000, description="Members")
    seed: int = Field(0, ge=0, description="Seed of the prior ensemble and of the perturbed observations")


class CalibrationExecution(StrictModel):
    """How the work is cut and run; results do not depend on it."""

    members_per_batch: int = Field(32, ge=1, description="Members of one task; the kernel runs 8 at once")
    retries: int = Field(2, ge=0, description="Times a failed task is tried again")
    cluster: ClusterConfig = ClusterConfig()


class CalLMIPSettings(StrictModel):
    """Names in the output files of the land model calibration exercise CalLMIP (Phase 1b)."""

    site: str = Field(pattern=r"[A-Z]{2}-[A-Za-z0-9]{3}", description="Code of the site, such as FR-Pue")
    scenario: int = Field(1, ge=1, le=6, description="Calibration scenario; 1: NEE, LE and H together")


class CalibrationCase(StrictModel):
    """A calibration: `ldas calibrate CASE.yaml`."""

    name: Name = Field(description="Name of the calibration in the store")
    description: str = Field("", description="What it is, shown in the report")
    synthetic: bool = Field(False, description="True when the observations are synthetic; the report then says so")
    store: StoreConfig
    ingest: tuple[IngestStep, ...] = Field(
        (), description="Ingestions that are done first, such as the forcing; none appends to a complete group"
    )
    site: Path = Field(description="Site file, as of `ldas site`, relative to the case file")
    utc_offset_h: int = Field(
        0, ge=-12, le=14, description="Local standard time minus UTC of the days of the observations (hours)"
    )
    spin_up_repetitions: int = Field(
        0, ge=0, description="Times that the first 365 days are run before, by every member with its own parameters"
    )
    parameters: dict[str, ParameterSettings] = Field(min_length=1, description="By SURFEX name")
    observations: tuple[ObservedSettings, ...] = Field(min_length=1)
    calibration: WindowConfig = Field(description="First and last day whose observations are assimilated")
    kept_back: WindowConfig = Field(description="First and last day of observations that only test the result")
    method: MethodSettings = MethodSettings()
    callmip: CalLMIPSettings | None = Field(None, description="Write the output files of CalLMIP too")
    execution: CalibrationExecution = CalibrationExecution()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, settings in self.parameters.items():
            _check_bounds(name, settings)
        windows = (self.calibration, self.kept_back)
        if max(window.start for window in windows) <= min(window.end for window in windows):
            raise ValueError(
                f"calibration ({self.calibration.start} to {self.calibration.end}) and kept_back "
                f"({self.kept_back.start} to {self.kept_back.end}) overlap: what tests the result must not make it"
            )
        observed = [entry.variable for entry in self.observations]
        if len(set(observed)) < len(observed):
            raise ValueError(f"observations: each variable once, got {', '.join(observed)}")
        in_one_process = self.execution.cluster.kind == "local" and not self.execution.cluster.processes
        if not self.location.shared_between_processes and not in_one_process:
            raise ValueError("a memory:// store is seen by one process only: use a folder, or a cluster of threads")
        return self

    @property
    def location(self) -> Location:
        """Location of the store."""
        return Location(self.store.url, dict(self.store.options))

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the observed variables."""
        return tuple(entry.variable for entry in self.observations)


def _check_bounds(name: str, settings: ParameterSettings) -> None:
    if name not in OVERRIDES:
        near = difflib.get_close_matches(name, OVERRIDES, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(OVERRIDES)}"
        raise ValueError(f"parameters: '{name}' is not a parameter that can be given{hint}")
    allowed = override_range(name)
    if allowed is None:
        return
    for bound in (settings.low, settings.high):
        if not allowed.low <= bound <= allowed.high:
            raise ValueError(f"parameters: {name}: a bound is outside the physical range: {allowed.message(bound)}")


def load_calibration(path: Path) -> tuple[CalibrationCase, SiteCase]:
    """Reads and checks a case file and its site file; paths in them become relative to their folders.

    Raises:
        ConfigurationError: a case that is not valid, the scheduler of another machine, or a window that the site's
            run does not cover.
    """
    case = load_model(path, CalibrationCase)
    refuse_other_machines(path, case.execution.cluster)
    folder = path.resolve().parent
    changes: dict[str, object] = {
        "store": case.store.relative_to(folder),
        "site": folder / case.site.expanduser(),
        "observations": tuple(
            entry.model_copy(update={"file": folder / entry.file.expanduser()}) if entry.file else entry
            for entry in case.observations
        ),
        "ingest": tuple(step.model_copy(update={"config": folder / step.config.expanduser()}) for step in case.ingest),
    }
    case = case.model_copy(update=changes)
    site = load_case(case.site)
    begin = (site.start_time + np.timedelta64(case.utc_offset_h, "h")).astype("datetime64[D]")
    end = begin + np.timedelta64(site.days - 1, "D")
    for name in ("calibration", "kept_back"):
        window: WindowConfig = getattr(case, name)
        if not (begin <= np.datetime64(window.start) and np.datetime64(window.end) <= end):
            raise ConfigurationError(
                f"{path}: {name} from {window.start} to {window.end} must lie inside the run of {case.site.name}, "
                f"{begin} to {end}: change the window, or start and days of the site file"
            )
    return case, site
