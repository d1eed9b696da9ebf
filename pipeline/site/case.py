"""The YAML file of one site (`ldas site CASE.yaml`), as a strict model."""

import difflib
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from ldas.landmodel import quantities
from ldas.landmodel.errors import LdasError
from ldas.pipeline import registry
from ldas.pipeline.forcing.read import SnowfallRule
from ldas.pipeline.forcing.valid_range import ReadingOfRange
from ldas.pipeline.settings.acceptance import ForcingCheck
from ldas.pipeline.settings.land_options import LandOptions
from ldas.pipeline.settings.yaml_file import StrictModel, load_model
from ldas.pipeline.store.location import absolute_url

SECONDS_PER_DAY = 86400
Values = float | tuple[float | None, ...] | None

# The state by SURFEX's names: field of `landmodel.State`.
STATE_FIELDS = {quantity.surfex: quantity.name for quantity in quantities.STATE}
# What is written when the file does not say it: states, and what the water, energy and carbon budgets need.
DEFAULT_OUTPUT = (
    *("TG", "WG", "WGI", "WR", "SWE", "SNOW_DEPTH", "LAI", "BIOMASS", "VEG", "ALBEDO"),
    *("RN", "H", "LE", "LEG", "LEGI", "LEV", "LER", "LETR", "LES", "GFLUX", "EVAP"),
    *("DRAINAGE", "RUNOFF", "DRIP", "SNOWMELT", "GPP", "RESP_AUTO", "RECO"),
)


class ForcingSource(StrictModel):
    """Where the forcing comes from: a file, a store, or the formulas of `ldas.pipeline.forcing.analytic`."""

    file: Path | None = Field(None, description="NetCDF (ALMA or forc_* names) or text, relative to the case file")
    store: str | None = Field(
        None,
        description="Instead of a file: a store with the group `forcing` (folder relative to the case file, or URL), "
        "such as `ldas ingest` makes of any source; the cell nearest to the site is used",
    )
    formula: Literal["rain", "snow"] | None = Field(
        None, description="Instead of a file: the weather given by formulas, with all rain or with snow below 273.16 K"
    )
    temperature_height_m: float = Field(2.0, gt=0, description="Height of air temperature and humidity (m)")
    wind_height_m: float = Field(10.0, gt=0, description="Height of wind (m)")
    first_record: datetime | None = Field(None, description="Time of the first record (UTC), for text without times")
    step_s: int | None = Field(None, gt=0, description="Seconds between records, for text without times")
    co2_kg_m3: float | None = Field(None, gt=0, description="Carbon dioxide, where the file has none")
    surface_pressure_pa: float | None = Field(None, gt=0, description="Surface pressure, where the file has none")
    snowfall: SnowfallRule | None = Field(None, description="Split of total precipitation, where the file has no snow")
    valid_range: ReadingOfRange = Field(
        "auto",
        description="Numbers in which the file gives `valid_range`, `valid_min`, `valid_max`; auto: what the quantity "
        "can be decides; ignore: where they are wrong",
    )
    records_per_loop: int | None = Field(
        None, gt=1, description="The run starts at the first record again after this many intervals (a repeated year)"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.file, self.store, self.formula)) != 1:
            raise ValueError("give exactly one of file, store and formula")
        of_files = ("first_record", "step_s", "co2_kg_m3", "surface_pressure_pa", "snowfall", "valid_range")
        idle = [name for name in of_files if name in self.model_fields_set and getattr(self, name) is not None]
        if self.file is None and idle:
            source = "a formula" if self.store is None else "a store"
            raise ValueError(f"no effect of {', '.join(idle)} with {source}, only with a file: leave them out")
        return self


class TypeSettings(StrictModel):
    """What is different for one vegetation type."""

    parameters: dict[str, Values] = Field(default_factory=dict, description="Parameters by SURFEX name")
    initial_state: dict[str, Values] = Field(default_factory=dict, description="Initial state by SURFEX name")


class SiteOutput(StrictModel):
    """What is written."""

    interval: Literal["half-hourly", "daily"] = Field("daily", description="Interval of means and states")
    variables: tuple[str, ...] = Field(DEFAULT_OUTPUT, description="Names of the registry")
    per_patch: bool = Field(False, description="Each patch beside the aggregated site (names with _patch)")

    @field_validator("variables")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                entry = registry.variable(name)
            except LdasError as error:
                raise ValueError(str(error)) from error
            if entry.group not in ("state", "flux", "diagnostic") or entry.layer is not None:
                raise ValueError(f"'{name}' is not a state, flux or diagnostic of the land model with all its layers")
        return names

    @property
    def seconds(self) -> int:
        """Length of the interval (s)."""
        return 1800 if self.interval == "half-hourly" else SECONDS_PER_DAY


class SiteCase(StrictModel):
    """One site: `ldas site CASE.yaml --out FILE.nc`."""

    name: str = Field(description="Name of the case, kept in the output")
    latitude: float = Field(ge=-90, le=90, description="Degrees north")
    longitude: float = Field(ge=-180, le=360, description="Degrees east")
    clay: float = Field(ge=0, le=1, description="Mass fraction of clay, 0 to 1")
    sand: float = Field(ge=0, le=1, description="Mass fraction of sand, 0 to 1")
    cell_size_km: float = Field(1.0, gt=0, description="Size of the area that the site stands for (drip: SGH)")
    vegetation: str | dict[str, float] = Field(
        description="A vegetation type (such as C3), or fractions of the site by type"
    )
    parameters: dict[str, Values] = Field(default_factory=dict, description="Parameters by SURFEX name, for all types")
    initial_state: dict[str, Values] = Field(
        default_factory=dict, description="Initial state by SURFEX name, for all types; the rest is a cold start"
    )
    by_type: dict[str, TypeSettings] = Field(default_factory=dict, description="Settings of one vegetation type")
    options: LandOptions = LandOptions()
    start: datetime = Field(description="Start of the run (UTC)")
    days: int = Field(gt=0, description="Length of the run (days)")
    time_step_s: int = Field(1800, gt=0, description="Model time step (s), a divisor of a day")
    forcing: ForcingSource
    accept: tuple[ForcingCheck, ...] = Field(
        (), description="Checks of plausibility that the forcing need not pass: [night_shortwave]"
    )
    output: SiteOutput = SiteOutput()

    @field_validator("vegetation", "by_type", mode="before")
    @classmethod
    def _bare_soil(cls, value: object) -> object:
        """YAML reads the code of bare soil, NO, as false."""
        if isinstance(value, dict):
            return {"NO" if key is False else key: item for key, item in value.items()}
        return "NO" if value is False else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        total = sum(self.fractions.values())
        if abs(total - 1.0) > 1e-6 or any(share < 0 for share in self.fractions.values()):
            raise ValueError(f"vegetation: fractions from 0 to 1 that add to 1 are needed, these add to {total:g}")
        unknown = set(self.by_type) - set(self.fractions)
        if unknown:
            raise ValueError(f"by_type names {', '.join(sorted(unknown))}, which the vegetation does not have")
        for name in {name for part in self._states() for name in part}:
            if name not in STATE_FIELDS:
                near = difflib.get_close_matches(name.upper(), STATE_FIELDS, n=1, cutoff=0.5)
                hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(STATE_FIELDS)}"
                raise ValueError(f"initial_state: unknown '{name}'{hint}")
        if SECONDS_PER_DAY % self.time_step_s:
            raise ValueError(f"time_step_s {self.time_step_s} does not divide a day")
        if self.output.seconds % self.time_step_s:
            raise ValueError(
                f"time_step_s {self.time_step_s} does not divide the output interval of {self.output.seconds} s"
            )
        return self

    def _states(self) -> list[dict[str, Values]]:
        return [self.initial_state, *(settings.initial_state for settings in self.by_type.values())]

    @property
    def fractions(self) -> dict[str, float]:
        """Fraction of the site by vegetation type."""
        return {self.vegetation: 1.0} if isinstance(self.vegetation, str) else self.vegetation

    @property
    def start_time(self) -> np.datetime64:
        """Start of the run (UTC)."""
        return utc(self.start)

    def settings(self, vegetation: str) -> TypeSettings:
        """Parameters and initial state of one vegetation type: the common ones with what is different for it."""
        own = self.by_type.get(vegetation, TypeSettings())
        return TypeSettings(
            parameters={**self.parameters, **own.parameters},
            initial_state={**self.initial_state, **own.initial_state},
        )


def utc(time: datetime) -> np.datetime64:
    """A time of a configuration file; one with an offset is converted, one without is UTC."""
    plain = time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(plain, "s")


def load_case(path: Path) -> SiteCase:
    """Reads and checks a case file; the place of the forcing in it is made relative to its folder."""
    case = load_model(path, SiteCase)
    folder = path.resolve().parent
    places: dict[str, object] = {}
    if case.forcing.file is not None:
        places["file"] = folder / case.forcing.file.expanduser()
    if case.forcing.store is not None:
        places["store"] = absolute_url(case.forcing.store, folder)
    return case.model_copy(update={"forcing": case.forcing.model_copy(update=places)})
