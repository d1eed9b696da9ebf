"""The sections `operators` and `assimilation` of the experiment file."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from ldas.assim import EnSRFConfiguration, FilterConfiguration, SEKFConfiguration
from ldas.assim.controls import variable_unit
from ldas.assim.predictors import SCREEN_LEVEL, SEASON, predictor_unit
from ldas.landmodel.errors import LdasError
from ldas.operators.extensions import extension, extension_names
from ldas.operators.joint import JointOperator
from ldas.operators.options import NeuralOptions, PooledOptions
from ldas.operators.protocol import Names, TrainableOperator
from ldas.operators.registry import operator_class
from ldas.operators.water_cloud import WaterCloudOptions
from ldas.pipeline import registry
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.settings.error_correlations import ErrorCorrelations, require_possible
from ldas.pipeline.settings.estimated_errors import AdaptiveErrorsSettings, BiasSettings
from ldas.pipeline.settings.yaml_file import OptionsSection, StrictModel
from ldas.pipeline.store.location import check_name


def _name(value: str) -> str:
    try:
        return check_name(value)
    except LdasError as error:
        raise ValueError(str(error)) from error


Name = Annotated[str, AfterValidator(_name)]
_FILTERS = "ldas.filters"  # entry points of other packages
OWN_FILTERS = ("sekf", "ensrf")
_OWN_SECTIONS = ("neural", "pooled", "water_cloud")  # kinds of operators whose options are a section of that name
TimeMatching = Literal["window_end", "overpass"]
SNOW_OBSERVATIONS = {"swe": "SWE", "snow_depth": "SNOW_DEPTH"}
SCREEN_OBSERVATIONS = {name.lower(): name for name in SCREEN_LEVEL}
"""Observations at 2 m, each compared at its own hour."""
MODEL_VARIABLE = {"lai": "LAI", "swi": "WG2", "ssm": "WG2", **SNOW_OBSERVATIONS, **SCREEN_OBSERVATIONS}
"""Model variable that an observation type observes directly."""


def left_out_name(run: str, observation: str) -> str:
    """Name of the run that is an assimilation without one of its observation types."""
    return f"{run}_without_{observation}"


def state_name(variable: str, observation: str) -> str:
    """Name of the array of a run that holds a variable at the overpasses of an observation."""
    return f"{variable}_{observation}"


@dataclass(frozen=True)
class NeuralSettings(OptionsSection, NeuralOptions):
    """`operators.NeuralOptions`."""


@dataclass(frozen=True)
class PooledSettings(OptionsSection, PooledOptions):
    """`operators.PooledOptions`."""


@dataclass(frozen=True)
class WaterCloudSettings(OptionsSection, WaterCloudOptions):
    """`operators.WaterCloudOptions`."""


@dataclass(frozen=True)
class SEKFSettings(OptionsSection, SEKFConfiguration):
    """`assim.SEKFConfiguration`."""


@dataclass(frozen=True)
class EnSRFSettings(OptionsSection, EnSRFConfiguration):
    """`assim.EnSRFConfiguration`."""


def options_of(dataclass_of: type, given: Mapping[str, Any]) -> Any:
    """Options of another package's operator or filter, a dataclass. ConfigurationError for what it does not have."""
    if not is_dataclass(dataclass_of):
        raise ConfigurationError(f"{dataclass_of!r}: the options of an operator or filter are a dataclass")
    known = {entry.name for entry in fields(dataclass_of) if entry.init}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigurationError(f"options {', '.join(unknown)}: unknown; known: {', '.join(sorted(known)) or 'none'}")
    try:
        return TypeAdapter(dataclass_of).validate_python(dict(given))
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigurationError(f"options: {said}") from error


def operator_options() -> dict[str, type]:
    """Options (a dataclass) of each kind of operator of an installed package."""
    return {name: operator_class(name).OPTIONS for name in extension_names("ldas.operators")}


def filter_options() -> dict[str, type]:
    """Options (a dataclass) of each filter of an installed package."""
    return {name: _filter_of_another_package(name) for name in extension_names(_FILTERS)}


def _filter_of_another_package(name: str) -> type:
    found: type = extension(_FILTERS, name, ("controls", "model_runs", "carried", "make"), OWN_FILTERS)
    return found


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
    """An observation operator to train: from the open loop and observed LAI to an observation."""

    name: Name = Field("neural", description="Name of the operator in the store")
    kind: Name = Field(
        "neural", description="neural, pooled, water_cloud, direct, or the name of an entry point `ldas.operators`"
    )
    observation: Name | tuple[Name, ...] = Field(
        "sigma40",
        description="Observation group that is the target; or several that one network predicts together, such as "
        "[tbh, tbv] (kind: neural)",
    )
    predictors: tuple[str, ...] | None = Field(
        None,
        description="Model variables at the analysis hour (LAI, WG1 to WG14, WGI1 ..., TG1 ..., WR: intercepted water; "
        "they are stored by output.instant), and the season (DOY_COS, DOY_SIN); default: neural, pooled WG2, TG2, LAI; "
        "water_cloud WG2, LAI; direct the variable observed",
    )
    lai: Name | None = Field(
        "lai", description="Observation group whose LAI is a predictor, linear in time; null: the model's own LAI"
    )
    time_matching: TimeMatching = Field(
        "window_end",
        description="Model state that an observation is compared with, in training and in every assimilation with this "
        "operator: that of the window's end, with the mean of the window's overpasses; or overpass: each overpass by "
        "itself, with the state of the model step nearest to it (needs overpasses that kept their hour)",
    )
    training: WindowConfig = Field(description="Window it is trained on (direct: only scored)")
    test: WindowConfig | None = Field(None, description="Window that is only scored")
    neural: NeuralSettings = Field(NeuralSettings(), description="Shape and training of the networks")
    pooled: PooledSettings = Field(
        PooledSettings(), description="Kind pooled: one network for all cells, with a correction of each"
    )
    water_cloud: WaterCloudSettings = Field(
        WaterCloudSettings(), description="Bounds of the calibrated parameters, and the incidence angle"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Options of a kind from another package")
    search_architectures: bool = Field(
        False, description="Kind neural: train the twelve shapes of the paper too and compare them"
    )

    @property
    def predictor_names(self) -> tuple[str, ...]:
        """Names of the predictors: those of the file, or the default of the kind."""
        usual = self.predictors or operator_class(self.kind).PREDICTORS
        observed = self.observations[0]
        return (MODEL_VARIABLE.get(observed, observed),) if usual is None else usual

    @property
    def observations(self) -> tuple[str, ...]:
        """The observation groups that are targets."""
        return (self.observation,) if isinstance(self.observation, str) else self.observation

    @property
    def state_names(self) -> tuple[str, ...]:
        """The predictors that the model computes: all but the season."""
        return tuple(name for name in self.predictor_names if name not in SEASON)

    @property
    def observed_lai(self) -> str | None:
        """Observation group whose LAI is a predictor; None where the model's own is, or none at all."""
        return self.lai if self.kind != "direct" and "LAI" in self.predictor_names else None

    def untrained(self) -> TrainableOperator:
        """The operator, still to be trained."""
        units = tuple(predictor_unit(name) for name in self.predictor_names)
        targets = tuple(registry.variable(name).unit for name in self.observations)
        if not isinstance(self.observation, str):
            return JointOperator(
                self.neural,
                predictor_names=self.predictor_names,
                predictor_units=units,
                output_names=self.observations,
                output_units=targets,
            )
        names = Names(self.predictor_names, units, self.observation, targets[0])
        own = {"neural": self.neural, "pooled": self.pooled, "water_cloud": self.water_cloud}
        chosen = operator_class(self.kind)
        options = own[self.kind] if self.kind in own else options_of(chosen.OPTIONS, self.options)
        return chosen.for_observation(names, options)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.observations:
            raise ValueError(f"operator {self.name}: name the observation that it predicts")
        try:
            operator_class(self.kind)
        except LdasError as error:
            raise ValueError(f"operator {self.name}: kind {error}") from error
        belongs = {"search_architectures": "neural", **{kind: kind for kind in _OWN_SECTIONS}}
        for key, kind in belongs.items():
            if key in self.model_fields_set and self.kind != kind:
                raise ValueError(f"operator {self.name}: `{key}` belongs to kind: {kind}, the kind is {self.kind}")
        if not isinstance(self.observation, str):
            for key, value in (("kind", "neural"), ("search_architectures", False)):
                if getattr(self, key) != value:
                    raise ValueError(
                        f"operator {self.name}: several observations need `{key}: {value}`, got {getattr(self, key)}"
                    )
        if self.time_matching == "overpass" and self.kind == "direct":
            raise ValueError(
                f"operator {self.name}: `time_matching: overpass` belongs to trained operators; a direct one is of the "
                "window's end"
            )
        if self.kind == "direct" and self.observation in SCREEN_OBSERVATIONS:
            raise ValueError(
                f"operator {self.name}: {self.observation} is compared at its own hour, which `kind: direct` is not: "
                f"assimilate {self.observation} without an operator"
            )
        if not self.state_names:
            raise ValueError(
                f"operator {self.name}: the season alone is no predictor: name a variable of the model too"
            )
        if self.time_matching == "overpass" and "WR" in self.predictor_names:
            raise ValueError(f"operator {self.name}: WR is stored at the analysis hour only, not at overpasses")
        if self.options and self.kind in _OWN_SECTIONS:
            raise ValueError(f"operator {self.name}: the options of kind: {self.kind} are in its section `{self.kind}`")
        try:
            self.untrained()
        except LdasError as error:
            raise ValueError(f"operator {self.name}: {error}") from error
        if self.observed_lai is None and "lai" in self.model_fields_set and self.lai is not None:
            raise ValueError(
                f"operator {self.name}: `lai` has no effect: "
                + ("a direct operator is of the model's own LAI" if self.kind == "direct" else "LAI is not a predictor")
            )
        return self

    @model_serializer(mode="wrap")
    def _without_what_has_no_part(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What identifies the operator: without options of other kinds. Of a network it is what it always was."""
        values: dict[str, Any] = serialize(self)
        gone = {*_OWN_SECTIONS} | (set() if self.kind == "neural" else {"search_architectures"})
        gone |= {key for key in ("predictors", "options") if not values.get(key)}
        gone |= {"kind"} if self.kind == "neural" else set()
        gone |= {"time_matching"} if self.time_matching == "window_end" else set()
        return {key: value for key, value in values.items() if key not in gone - {self.kind}}


class ObservationErrorConfig(StrictModel):
    """Standard deviation of an observation."""

    kind: Literal["absolute", "relative", "dynamic_range", "given", "estimated", "validation"] = Field(
        description="absolute: size in the observation's unit; relative: times the value; dynamic_range: times COFSWI; "
        "given: times the stored uncertainty; estimated: one of each cell from `from_run` (Desroziers et al. 2005), "
        "within half and twice the size, and the size itself where there are fewer than 100 values; validation: RMSD "
        "of the network in the samples kept out of its training, cell by cell, and the size where there are none"
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
    "swe": ObservationErrorConfig(kind="absolute", size=10.0),
    "snow_depth": ObservationErrorConfig(kind="absolute", size=0.04),
    "t2m": ObservationErrorConfig(kind="absolute", size=1.0),
    "q2m": ObservationErrorConfig(kind="absolute", size=0.001),
    "hu2m": ObservationErrorConfig(kind="absolute", size=0.1),
}


class AssimilatedConfig(StrictModel):
    """One observation type of an assimilation."""

    name: Name = Field(description="Observation group (sigma40, lai, swi, ssm, swe, snow_depth, t2m, ...)")
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
    reject_frozen: bool = Field(True, description="Not used where the soil is frozen (default of snow: false)")
    reject_snow: bool = Field(True, description="Not used where the model has snow (default of snow: false)")

    @model_validator(mode="before")
    @classmethod
    def _snow_under_snow(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("name") in SNOW_OBSERVATIONS:
            return {"reject_frozen": False, "reject_snow": False, **given}
        return given

    @property
    def error_model(self) -> ObservationErrorConfig:
        """The error, or the default of this type."""
        return self.error or DEFAULT_ERRORS[self.name]

    @property
    def direct_matching(self) -> TimeMatching:
        """How it is compared without an operator: at the window's end, or at its own hour what is observed at 2 m."""
        return "overpass" if self.name in SCREEN_OBSERVATIONS else "window_end"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.operator is None and self.name not in MODEL_VARIABLE:
            known = ", ".join(MODEL_VARIABLE)
            raise ValueError(f"{self.name} is not observed directly ({known}): name the operator that predicts it")
        if self.operator is None and self.error is not None and self.error.kind == "validation":
            raise ValueError(f"{self.name}: an error of kind: validation needs an operator: name it")
        if self.error is None and self.name not in DEFAULT_ERRORS:
            raise ValueError(f"{self.name} has no default error: give one")
        if self.valid_range is None:
            try:
                registry.variable(self.name)
            except LdasError as error:
                raise ValueError(f"{self.name} has no valid range in the registry: give one") from error
        if self.rescale != "none" and self.operator is not None:
            raise ValueError(f"{self.name} is predicted by an operator: only observed model variables are rescaled")
        if self.rescale != "none" and self.name in SCREEN_OBSERVATIONS:
            raise ValueError(f"{self.name} is compared at its own hour: only values of the window's end are rescaled")
        if self.rescale_months % 2 == 0 or not 1 <= self.rescale_months <= 11:
            raise ValueError(f"rescale_months must be an odd number from 1 to 11, got {self.rescale_months}")
        for key in ("rescale_period", "rescale_months"):
            if self.rescale == "none" and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{self.name} is not rescaled: {key} has no meaning")
        return self


class AssimilationConfig(StrictModel):
    """One assimilation experiment, started from the open loop."""

    name: Name = Field(description="Name of the run in the store")
    start: date | None = Field(None, description="First day; its first window starts at the analysis hour")
    end: date | None = Field(None, description="Day on which the last window ends")
    observations: tuple[AssimilatedConfig, ...] = Field(min_length=1)
    error_correlations: ErrorCorrelations = ()
    filter: Name = Field("sekf", description="sekf, ensrf, or the name of an entry point `ldas.filters`")
    sekf: SEKFSettings = Field(SEKFSettings(), description="Options of the simplified EKF")
    ensrf: EnSRFSettings = Field(EnSRFSettings(), description="Options of the ensemble square root filter")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of a filter from another package")
    bias: BiasSettings | None = Field(
        None, description="Estimate the bias of each observation type along with the analysis ({}: with the defaults)"
    )
    adaptive_errors: AdaptiveErrorsSettings | None = Field(
        None, description="Estimate a scale of R by type and one of B, by cell ({}: with the defaults)"
    )
    leave_one_out: bool = Field(
        False,
        description="Run it again without each of its observation types, which is then compared only: "
        "`<name>_without_<observation>`, for what each type is worth",
    )

    def without_one(self) -> "tuple[AssimilationConfig, ...]":
        """The runs that are this one without one of its observation types each; none unless they are asked for."""
        if not self.leave_one_out:
            return ()
        used = [entry.name for entry in self.observations if entry.assimilate]
        if len(used) < 2:
            raise ValueError(f"assimilation {self.name}: `leave_one_out` needs at least two observation types to use")
        return tuple(
            self.model_copy(
                update={
                    "name": left_out_name(self.name, name),
                    "observations": tuple(
                        entry.model_copy(update={"assimilate": False}) if entry.name == name else entry
                        for entry in self.observations
                    ),
                    "leave_one_out": False,
                }
            )
            for name in used
        )

    @property
    def estimates_errors(self) -> bool:
        """Whether bias or error scales are estimated along with the analysis."""
        return self.bias is not None or self.adaptive_errors is not None

    @property
    def method(self) -> FilterConfiguration:
        """The options of the filter that is chosen."""
        methods: dict[str, FilterConfiguration] = {"sekf": self.sekf, "ensrf": self.ensrf}
        if self.filter in methods:
            return methods[self.filter]
        method: FilterConfiguration = options_of(_filter_of_another_package(self.filter), self.options)
        return method

    @model_validator(mode="after")
    def _possible(self) -> Self:
        try:
            for control in self.method.controls:
                variable_unit(control)
        except LdasError as error:
            raise ValueError(f"assimilation {self.name}: filter {error}") from error
        snow = [entry.name for entry in self.observations if entry.name in SNOW_OBSERVATIONS and entry.assimilate]
        if snow and "SWE" not in self.method.controls:
            raise ValueError(
                f"assimilation {self.name}: {snow[0]} corrects nothing, since SWE is not among the control variables "
                f"of filter: {self.filter} ({', '.join(self.method.controls)}): add it, or say `assimilate: false`"
            )
        if "SWE" not in self.sekf.controls and self.sekf.snow_error != SEKFConfiguration.snow_error:
            raise ValueError(f"assimilation {self.name}: sekf.snow_error has no effect without SWE in sekf.controls")
        for key in OWN_FILTERS:
            if key in self.model_fields_set and self.filter != key:
                raise ValueError(f"assimilation {self.name}: `{key}` belongs to filter: {key}, it is {self.filter}")
        if self.sekf.background != "A" and self.sekf.typical_range != SEKFConfiguration.typical_range:
            raise ValueError(
                f"assimilation {self.name}: sekf.typical_range has no effect with background: {self.sekf.background}"
            )
        if self.options and self.filter in OWN_FILTERS:
            raise ValueError(
                f"assimilation {self.name}: the options of filter: {self.filter} are in its section `{self.filter}`"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_absent_options(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What identifies it: without the options that came later, where they are not used."""
        values: dict[str, Any] = serialize(self)
        later = ("options", "bias", "adaptive_errors", "error_correlations")
        if "SWE" not in self.sekf.controls:
            values.get("sekf", {}).pop("snow_error", None)
        # The runs without one type are runs of their own: this one is the same with and without them.
        return {key: value for key, value in values.items() if key != "leave_one_out" and (key not in later or value)}

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [observation.name for observation in self.observations]
        if len(set(names)) != len(names):
            raise ValueError(f"observations must be distinct, got {', '.join(names)}")
        if self.error_correlations == "validation":
            operators = [entry.operator for entry in self.observations if entry.operator is not None]
            if len(set(operators)) == len(operators):
                raise ValueError(
                    "error_correlations: validation needs two or more observations that one operator predicts; here no "
                    "two have the same `operator`"
                )
        else:
            require_possible(self.error_correlations, names)
        if self.start and self.end and self.end <= self.start:
            raise ValueError(f"end {self.end} must be after start {self.start}")
        return self
