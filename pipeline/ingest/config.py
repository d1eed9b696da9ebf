"""Strict configuration of an ingest: what every source shares; each source module adds its own keys."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ldas.landmodel.constants import FREEZING_POINT
from ldas.pipeline.settings.acceptance import ForcingCheck
from ldas.pipeline.settings.experiment import StoreConfig
from ldas.pipeline.settings.yaml_file import StrictModel


class Place(StrictModel):
    """Where a site record was taken, and the clock of its days."""

    latitude: float = Field(ge=-90, le=90, description="degrees north")
    longitude: float = Field(ge=-180, le=180, description="degrees east")
    elevation: float | None = Field(default=None, description="m above sea level, where known")
    utc_offset_h: int = Field(
        default=0, ge=-12, le=14, description="local standard time minus UTC, whole hours: FLUXNET days are local days"
    )


class SnowRule(StrictModel):
    """How precipitation is split by air temperature where the source has no snowfall."""

    all_snow_below: float = Field(
        default=FREEZING_POINT, description="K: all precipitation is snow below this temperature"
    )
    all_rain_above: float = Field(default=275.16, description="K: all precipitation is rain above it; linear between")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
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
    def _hours_belong_to_fill(self) -> Self:
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
    def _whole_cells(self) -> Self:
        for low, high, names in ((self.south, self.north, "south, north"), (self.west, self.east, "west, east")):
            if high <= low:
                raise ValueError(f"{names}: {low} to {high}: the second must be the larger one")
            cells = (high - low) / self.step
            if cells < 0.5 or abs(cells - round(cells)) > 1e-6:
                raise ValueError(f"{names}: {low} to {high} is not a whole number of cells of {self.step} degrees")
        return self


class CellsConfig(StrictModel):
    """The target cells: a regular region, or single points (latitude, longitude), or those of a group of the store."""

    region: Region | None = None
    points: tuple[tuple[float, float], ...] | None = None
    from_group: str | None = Field(default=None, description="such as `land`: the cells of that group of the store")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum((self.region is not None, bool(self.points), self.from_group is not None)) != 1:
            raise ValueError("give exactly one of `region`, `points`, `from_group`")
        return self


def _as_utc(value: datetime | None) -> datetime | None:
    """An instant without a time zone, in UTC."""
    return value.astimezone(UTC).replace(tzinfo=None) if value is not None and value.tzinfo else value


class Period(StrictModel):
    """First and last instant (UTC), both in the period; left out: everything that the files hold."""

    start: Annotated[datetime | None, AfterValidator(_as_utc)] = None
    end: Annotated[datetime | None, AfterValidator(_as_utc)] = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start and self.end and self.end < self.start:
            raise ValueError(f"end ({self.end}) is before start ({self.start})")
        return self


class IngestConfig(StrictModel):
    """What every ingest needs: where to write, how."""

    store: StoreConfig | None = Field(
        default=None, description="the store; left out where an experiment that runs the ingest gives its own"
    )
    append: bool = Field(default=False, description="append later times to a group that already exists")
    chunks: dict[str, int] = Field(
        default_factory=dict, description="chunk size per dimension, instead of the defaults"
    )
    shards: dict[str, int] = Field(default_factory=dict, description="shard size per dimension, likewise")
    memory_mb: int = Field(default=512, ge=64, description="largest data in memory at a time, MB")
    scratch: str | None = Field(default=None, description="folder for intermediate data; default: the system's")


class FilesConfig(IngestConfig):
    """An ingest from local files: paths or patterns, relative to the configuration file's folder."""

    files: tuple[str, ...] = Field(min_length=1)


class ObservationConfig(FilesConfig):
    """What every ingest of satellite observations shares."""

    period: Period = Period()
    nothing_usable: Literal["raise", "store"] = Field(
        default="raise",
        description="a new group without a single usable value stops the ingest, or is stored all the same",
    )
    out_of_range: Literal["raise", "missing"] = Field(
        default="raise", description="a value that the quantity cannot have stops the ingest, or is missing"
    )


OverpassesPerDay = Annotated[
    int | None,
    Field(
        ge=1,
        le=24,
        description="so many overpasses of a UTC day, at most, keep their own hour (axis `overpass`), as "
        "`time_matching: overpass` needs it; left out: they are averaged over the day",
    ),
]


class ForcingConfig(IngestConfig):
    """What every forcing ingest shares."""

    group: str = Field(
        default="forcing",
        pattern=r"^(forcing|forecast_forcing/[A-Za-z0-9_\-]+/\d{8}T\d{2})$",
        description="group that is written: `forcing`, or that of one forecast by the time of its start, such as "
        "forecast_forcing/ecmwf/20150106T09 where an experiment says `forecasts: [{forcing: ecmwf}]`",
    )
    period: Period = Period()
    accept: tuple[ForcingCheck, ...] = Field(
        default=(),
        description="checks of plausibility that this source need not pass, here and in runs: [night_shortwave]",
    )
    gaps: GapPolicy = GapPolicy()
    out_of_range: Literal["raise", "missing"] = Field(
        default="raise",
        description="a value outside the registry's range stops the ingest, or is missing and falls to `gaps`",
    )
