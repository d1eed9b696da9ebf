"""Strict configuration of an ingest: what every source shares; each source module adds its own keys."""

import difflib
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.ingest.errors import IngestError

Model = TypeVar("Model", bound="StrictModel")


class StrictModel(BaseModel):
    """Base of every ingest configuration: an unknown key is an error, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Place(StrictModel):
    """Where a site record was taken, and the clock of its days."""

    latitude: float = Field(ge=-90, le=90, description="degrees north")
    longitude: float = Field(ge=-180, le=180, description="degrees east")
    elevation: float = Field(default=float("nan"), description="m above sea level, where known")
    utc_offset_h: int = Field(
        default=0, ge=-12, le=14, description="local standard time minus UTC, whole hours: FLUXNET days are local days"
    )


class SnowRule(StrictModel):
    """How precipitation is split by air temperature where the source has no snowfall."""

    all_snow_below: float = Field(default=273.16, description="K: all precipitation is snow below this temperature")
    all_rain_above: float = Field(default=275.16, description="K: all precipitation is rain above it; linear between")

    @model_validator(mode="after")
    def _ordered(self) -> "SnowRule":
        if self.all_rain_above < self.all_snow_below:
            raise ValueError(
                f"all_rain_above ({self.all_rain_above} K) must not be below all_snow_below ({self.all_snow_below} K)"
            )
        return self


class DisaggregationOptions(SnowRule):
    """How daily records become hours."""

    seed: int = Field(default=0, ge=0, description="seed of the rain events; each day has its own random stream")
    temperature_cycle: Literal["daytime_mean", "radiation"] = Field(
        default="daytime_mean",
        description="where minimum and maximum say nothing: amplitude from the daytime mean, or from the radiation",
    )
    wind_amplitude: float = Field(
        default=0.3,
        ge=0,
        lt=1,
        description="relative amplitude of the daily cycle of wind, highest at 14:30 solar time",
    )


class GapPolicy(StrictModel):
    """What is done about hours, or values, that are missing.

    raise: stop, naming file or variable and the first hour. fill: interpolate linearly in time over at most `hours`
    missing hours in a row; stop at a longer gap. exclude_cell: leave out the cells with a missing value; an hour that
    is missing everywhere still stops.
    """

    action: Literal["raise", "fill", "exclude_cell"] = "raise"
    hours: int = Field(default=0, ge=0, description="longest gap that `fill` closes")

    @model_validator(mode="after")
    def _hours_belong_to_fill(self) -> "GapPolicy":
        if (self.action == "fill") != (self.hours > 0):
            raise ValueError("`hours` (more than 0) belongs to the action `fill`, and only to it")
        return self


class Region(StrictModel):
    """A regular grid of cells: centres half a step inside the edges."""

    south: float = Field(ge=-90, le=90)
    north: float = Field(ge=-90, le=90)
    west: float = Field(ge=-180, le=360)
    east: float = Field(ge=-180, le=360)
    step: float = Field(default=0.25, gt=0, description="degrees")

    @model_validator(mode="after")
    def _whole_cells(self) -> "Region":
        for low, high, names in ((self.south, self.north, "south, north"), (self.west, self.east, "west, east")):
            cells = (high - low) / self.step
            if cells < 0.5 or abs(cells - round(cells)) > 1e-6:
                raise ValueError(f"{names}: {low} to {high} is not a whole number of cells of {self.step} degrees")
        return self


class CellsConfig(StrictModel):
    """The target cells: a regular region, or single points (latitude, longitude), or those of the store's `land`."""

    region: Region | None = None
    points: tuple[tuple[float, float], ...] | None = None
    from_store: bool = False

    @model_validator(mode="after")
    def _one_of(self) -> "CellsConfig":
        if sum((self.region is not None, bool(self.points), self.from_store)) != 1:
            raise ValueError("give exactly one of `region`, `points`, `from_store: true`")
        return self


class Period(StrictModel):
    """Both instants belong to the period; left out: everything that the files hold."""

    start: datetime | None = None
    end: datetime | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "Period":
        if self.start and self.end and self.end < self.start:
            raise ValueError(f"end ({self.end}) is before start ({self.start})")
        return self


class IngestConfig(StrictModel):
    """What every ingest needs: where to write, how."""

    store: str = Field(description="URL or folder of the store")
    storage_options: dict[str, Any] = Field(default_factory=dict, description="fsspec options; never credentials")
    append: bool = Field(default=False, description="append later times to a group that is there already")
    chunks: dict[str, int] = Field(
        default_factory=dict, description="chunk size per dimension, instead of the defaults"
    )
    shards: dict[str, int] = Field(default_factory=dict, description="shard size per dimension, likewise")
    memory_mb: int = Field(default=512, ge=64, description="largest data in memory at a time, MB")
    scratch: str | None = Field(default=None, description="folder for intermediate data; default: the system's")


class FilesConfig(IngestConfig):
    """An ingest from local files: paths or patterns, relative to the configuration file's folder."""

    files: tuple[str, ...] = Field(min_length=1)


class ForcingConfig(IngestConfig):
    """What every forcing ingest shares."""

    period: Period = Period()
    gaps: GapPolicy = GapPolicy()
    snow: SnowRule = SnowRule()


def load(path: Path, model: type[Model]) -> Model:
    """Reads and validates a YAML configuration.

    :raises IngestError: no file, no YAML mapping, or a key or value that is not valid: all problems, with suggestions
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise IngestError(f"{path}: cannot be read as a YAML configuration: {error}") from error
    if not isinstance(content, dict):
        raise IngestError(f"{path}: expected a YAML mapping with keys such as {', '.join(model.model_fields)}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [_problem(item, model) for item in error.errors()]
        raise IngestError(f"{path}: {len(lines)} problem(s)\n" + "\n".join(f"  - {line}" for line in lines)) from error


def _problem(item: Any, model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(item["loc"][-1]), _all_keys(model), n=1)
        return f"{where}: unknown key{f'; did you mean {near[0]}?' if near else ''}"
    return f"{where}: {item['msg']}"


def _all_keys(model: type[BaseModel]) -> list[str]:
    keys = list(model.model_fields)
    for entry in model.model_fields.values():
        for part in (entry.annotation, *getattr(entry.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                keys += _all_keys(part)
    return keys
