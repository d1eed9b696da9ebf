"""Strict configuration of an ingest: one small Pydantic model a source, every key checked."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


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


class DisaggregationOptions(StrictModel):
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
    all_snow_below: float = Field(default=273.16, description="K: all precipitation is snow below this temperature")
    all_rain_above: float = Field(default=275.16, description="K: all precipitation is rain above it; linear between")

    @model_validator(mode="after")
    def _ordered(self) -> "DisaggregationOptions":
        if self.all_rain_above < self.all_snow_below:
            raise ValueError(
                f"all_rain_above ({self.all_rain_above} K) must not be below all_snow_below ({self.all_snow_below} K)"
            )
        return self
