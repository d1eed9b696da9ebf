"""The sections `operators` and `assimilation` of the experiment file."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from ldas.assim import EnSRFConfiguration, FilterConfiguration, SEKFConfiguration
from ldas.landmodel.errors import LdasError
from ldas.operators.options import NeuralOptions
from ldas.pipeline import registry
from ldas.pipeline.settings.yaml_file import StrictModel
from ldas.pipeline.store.location import check_name


def _name(value: str) -> str:
    try:
        return check_name(value)
    except LdasError as error:
        raise ValueError(str(error)) from error


Name = Annotated[str, AfterValidator(_name)]
MODEL_VARIABLE = {"lai": "LAI", "swi": "WG2", "ssm": "WG2"}
"""Model variable that an observation type observes directly."""


@dataclass(frozen=True)
class NeuralSettings(NeuralOptions):
    """`operators.NeuralOptions` as a section of the experiment file: unknown keys are mistakes."""

    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class SEKFSettings(SEKFConfiguration):
    """`assim.SEKFConfiguration` as a section of the experiment file: unknown keys are mistakes."""

    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class EnSRFSettings(EnSRFConfiguration):
    """`assim.EnSRFConfiguration` as a section of the experiment file: unknown keys are mistakes."""

    __pydantic_config__ = ConfigDict(extra="forbid")


class WindowConfig(StrictModel):
    """First and last day of a window of training, test or statistics."""

    start: date
    end: date

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        return self


class OperatorConfig(StrictModel):
    """A neural operator to train: from the open loop and observed LAI to an observation."""

    name: Name = Field("neural", description="Name of the operator in the store")
    observation: Name = Field("sigma40", description="Observation group that is the target")
    lai: Name | None = Field(
        "lai", description="Observation group whose LAI is a predictor, linear in time; null: the model's own LAI"
    )
    training: WindowConfig = Field(description="Window the networks are trained on")
    test: WindowConfig | None = Field(None, description="Window that is only scored")
    neural: NeuralSettings = Field(NeuralSettings(), description="Shape and training of the networks")
    search_architectures: bool = Field(False, description="Train the twelve shapes of the paper too and compare them")


class ObservationErrorConfig(StrictModel):
    """Standard deviation of an observation."""

    kind: Literal["absolute", "relative", "dynamic_range", "given", "estimated"] = Field(
        description="absolute: size in the observation's unit; relative: times the value; dynamic_range: times COFSWI; "
        "given: times the stored uncertainty; estimated: one of each cell from `from_run` (Desroziers et al. 2005), "
        "within half and twice the size, and the size itself where there are fewer than 100 values"
    )
    size: float = Field(1.0, gt=0)
    from_run: Name | None = Field(None, description="Earlier assimilation that an estimated error follows from")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.kind == "estimated") != (self.from_run is not None):
            raise ValueError("from_run belongs to kind: estimated, and is needed there")
        return self


DEFAULT_ERRORS = {
    "sigma40": ObservationErrorConfig(kind="absolute", size=0.33),
    "lai": ObservationErrorConfig(kind="relative", size=0.2),
    "swi": ObservationErrorConfig(kind="absolute", size=0.05),
    "ssm": ObservationErrorConfig(kind="absolute", size=0.05),
}


class AssimilatedConfig(StrictModel):
    """One observation type of an assimilation."""

    name: Name = Field(description="Observation group (sigma40, lai, swi, ssm)")
    operator: Name | None = Field(None, description="Stored operator; null: the observation is a model variable")
    error: ObservationErrorConfig | None = Field(None, description="Error model (default: that of the paper)")
    valid_range: tuple[float, float] | None = Field(None, description="Default: the range of the registry")
    innovation_limit: float | None = Field(None, gt=0, description="Larger innovations are rejected (default: none)")
    rescale: Literal["none", "linear", "cdf"] = Field(
        "none", description="To the open loop's climatology, month by month: mean and deviation, or the distribution"
    )
    rescale_months: int = Field(3, description="Months of the moving window of the rescaling (odd)")
    rescale_period: WindowConfig | None = Field(
        None, description="Days whose statistics the rescaling uses (default: all that observation and open loop have)"
    )
    assimilate: bool = Field(True, description="False: compared with the forecast only")
    reject_frozen: bool = True
    reject_snow: bool = True

    @property
    def error_model(self) -> ObservationErrorConfig:
        """The error, or the default of this type."""
        return self.error or DEFAULT_ERRORS[self.name]

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.operator is None and self.name not in MODEL_VARIABLE:
            raise ValueError(f"{self.name} is no model variable: name the stored operator that predicts it")
        if self.error is None and self.name not in DEFAULT_ERRORS:
            raise ValueError(f"{self.name} has no default error: give one")
        if self.valid_range is None:
            try:
                registry.variable(self.name)
            except LdasError as error:
                raise ValueError(f"{self.name} has no valid range in the registry: give one") from error
        if self.rescale != "none" and self.operator is not None:
            raise ValueError(f"{self.name} is predicted by an operator: only observed model variables are rescaled")
        if self.rescale_months % 2 == 0 or not 1 <= self.rescale_months <= 11:
            raise ValueError(f"rescale_months must be an odd number from 1 to 11, got {self.rescale_months}")
        if self.rescale_period is not None and self.rescale == "none":
            raise ValueError(f"{self.name} is not rescaled: rescale_period has no meaning")
        return self


class AssimilationConfig(StrictModel):
    """One assimilation experiment, started from the open loop."""

    name: Name = Field(description="Name of the run in the store")
    start: date | None = Field(None, description="First day; its first window starts at the analysis hour")
    end: date | None = Field(None, description="Day on which the last window ends")
    observations: tuple[AssimilatedConfig, ...] = Field(min_length=1)
    filter: Literal["sekf", "ensrf"] = "sekf"
    sekf: SEKFSettings = Field(SEKFSettings(), description="Options of the simplified EKF")
    ensrf: EnSRFSettings = Field(EnSRFSettings(), description="Options of the ensemble square root filter")

    @property
    def method(self) -> FilterConfiguration:
        """The options of the filter that is chosen."""
        methods: dict[str, FilterConfiguration] = {"sekf": self.sekf, "ensrf": self.ensrf}
        return methods[self.filter]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [observation.name for observation in self.observations]
        if len(set(names)) != len(names):
            raise ValueError(f"observations must be distinct, got {', '.join(names)}")
        if self.start and self.end and self.end <= self.start:
            raise ValueError(f"end {self.end} must be after start {self.start}")
        return self
