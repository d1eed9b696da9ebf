"""Configuration of the twin: the section `twin` of an experiment file, and the file of the nature run."""

from functools import cache, lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, SerializerFunctionWrapHandler, model_serializer, model_validator

from ldas.pipeline.settings.land_options import LandOptions
from ldas.pipeline.settings.yaml_file import StrictModel, load_model

Place = tuple[float, float]


class Scale(StrictModel):
    """Spatial coherence of a normal variable."""

    length_km: float = Field(gt=0, description="Correlation falls as exp(-(distance / length)^2 / 2)")
    pairs: int = Field(16, ge=1, description="Pairs of spatial modes")


class WeatherConfig(StrictModel):
    """Spatial coherence of the weather; its statistics in time are those of the records."""

    rain: Scale = Scale(length_km=170.0, pairs=32)
    rain_hour: Scale = Scale(length_km=250.0, pairs=8)
    rain_rate: Scale = Scale(length_km=80.0, pairs=8)
    clearness: Scale = Scale(length_km=250.0)
    temperature: Scale = Scale(length_km=600.0)
    humidity: Scale = Scale(length_km=300.0)
    wind: Scale = Scale(length_km=300.0)
    pressure: Scale = Scale(length_km=900.0)


class MaskConfig(StrictModel):
    """Largest values at which a cell is kept; the thresholds usual for ASCAT soil moisture, and one for towns."""

    topography: float = Field(0.20, ge=0, le=1, description="Topographic complexity")
    water: float = Field(0.05, ge=0, le=1, description="Fraction of water")
    urban: float = Field(0.20, ge=0, le=1, description="Fraction of towns")


class RegionConfig(StrictModel):
    """The grid."""

    south: float = Field(42.0, ge=-90, le=90)
    north: float = Field(46.0, ge=-90, le=90)
    west: float = Field(-2.0, ge=-180, le=180)
    east: float = Field(4.0, ge=-180, le=180)
    step: float = Field(0.25, gt=0, description="Degrees")

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.north - self.south < self.step or self.east - self.west < self.step:
            raise ValueError("the region is smaller than one step: north above south, east of west")
        for low, high in ((self.south, self.north), (self.west, self.east)):
            if abs((high - low) / self.step - round((high - low) / self.step)) > 1e-9:
                raise ValueError(f"{low} to {high} degrees is not a whole number of cells of {self.step} degrees")
        return self


class TwinConfig(StrictModel):
    """A synthetic experiment: land, weather, nature run and observations, or observations of an existing run."""

    seed: int = Field(1, ge=0, description="Another seed gives another land, weather, nature and other noise")
    region: RegionConfig = RegionConfig()
    subset: str = Field("all", description="All cells that pass the masks, or those of a named subset (geography.yaml)")
    masks: MaskConfig = MaskConfig()
    weather: WeatherConfig = WeatherConfig()
    nature: Path | None = Field(None, description="File of the nature run and of the observations' errors")
    from_run: str | None = Field(None, description="Make observations of this run of the store instead of a nature run")
    from_url: str | None = Field(None, description="Store of that run, where it is another one with the same cells")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.from_url is not None and self.from_run is None:
            raise ValueError("from_url names the store of a run: give from_run too")
        return self

    def nature_settings(self) -> "NatureConfig":
        """The file of the nature run; the committed `nature.yaml` where none is named."""
        if self.nature is None:
            return default_nature()
        changed = self.nature.stat().st_mtime_ns if self.nature.is_file() else 0
        return _nature_of(self.nature, changed)


class GlobeConfig(StrictModel):
    """The synthetic globe: land cells of ERA5 at 0.25 degrees north of 60S, with land and weather made up."""

    seed: int = Field(1, ge=0, description="Another seed gives other soils and plants, and other noise of the weather")
    cells: int | None = Field(
        None,
        ge=1,
        description="How many of the cells, evenly spaced among them, for smaller machines; default: all 244,450",
    )


# --- nature --------------------------------------------------------------------------------------------------------


class RandomField(StrictModel):
    """A random field constant in time."""

    deviation: float = Field(ge=0, description="Standard deviation")
    length_km: float = Field(gt=0, description="Length of its correlation")


class ParameterError(RandomField):
    """A parameter of nature: the model's, times `factor`, times the exponential of a random field."""

    name: Literal["GMES", "SEFOLD", "BSLAI_NITRO", "DROOT"] = Field(description="SURFEX name")
    patches: tuple[int, ...] = Field(description="Patches it concerns")
    factor: float = Field(1.0, gt=0)


class ForcingErrorConfig(StrictModel):
    """Correlation of nature's weather with the forcing that the model gets, by normal variable (1: no error)."""

    rain: float = Field(1.0, ge=0, le=1)
    rain_hour: float = Field(1.0, ge=0, le=1)
    rain_rate: float = Field(1.0, ge=0, le=1)
    clearness: float = Field(1.0, ge=0, le=1)
    temperature: float = Field(1.0, ge=0, le=1)
    humidity: float = Field(1.0, ge=0, le=1)
    wind: float = Field(1.0, ge=0, le=1)
    pressure: float = Field(1.0, ge=0, le=1)


class CropConfig(StrictModel):
    """A field kept bare from harvest to emergence."""

    emergence_day: int = Field(ge=1, le=365, description="Mean day of the year")
    harvest_day: int = Field(ge=1, le=365, description="Mean day of the year")
    spread_days: float = Field(ge=0, description="Standard deviation over cells and years")


class CutConfig(StrictModel):
    """Mowing of grassland."""

    days: tuple[int, ...] = Field(description="Mean days of the year")
    spread_days: float = Field(ge=0)
    part_left: float = Field(gt=0, le=1, description="Part of the leaves that stays")


class IrrigationConfig(StrictModel):
    """Watering of C4 and irrigated crops when the soil dries out."""

    first_day: int = Field(ge=1, le=365)
    last_day: int = Field(ge=1, le=365)
    interval_days: int = Field(ge=1, description="Days between two looks at the soil")
    below: float = Field(
        ge=0, le=1, description="Waters below this part of the water held between wilting and capacity"
    )
    depth_m: float = Field(gt=0, description="Depth over which that water is counted")
    amount_kg_m2: float = Field(gt=0)
    first_hour_utc: int = Field(ge=0, le=23)
    hours: int = Field(ge=1, le=24)

    @model_validator(mode="after")
    def _within_a_day(self) -> Self:
        if self.first_hour_utc + self.hours > 24:
            raise ValueError("water must end before 24 UTC: each day is complete in itself")
        return self


class ManagementConfig(StrictModel):
    """What farmers do."""

    second_field_share: float = Field(ge=0, le=1, description="Part of C3 crops on the second field of the rotation")
    winter_crop: CropConfig
    summer_crop: CropConfig
    maize: CropConfig
    clearing_interval_days: int = Field(ge=1, description="Days between two clearings of a bare field")
    grass_cut: CutConfig
    irrigation: IrrigationConfig


class WaterCloudPatch(StrictModel):
    """Water cloud parameters of a cell that is all of one patch: see ldas.operators.water_cloud."""

    vegetation_scattering: float = Field(ge=0)
    vegetation_attenuation: float = Field(ge=0)
    dry_soil_backscatter: float
    soil_moisture_sensitivity: float = Field(ge=0)


class WaterCloudConfig(StrictModel):
    """Parameters of the water cloud model: of a cell, the mean over its patches, varied from cell to cell."""

    patches: dict[int, WaterCloudPatch]
    relative_deviation: float = Field(ge=0, description="Of the logarithm of all parameters but the backscatter")
    backscatter_deviation_db: float = Field(ge=0)
    length_km: float = Field(gt=0)


class Sigma40Config(StrictModel):
    """ASCAT-like backscatter."""

    noise_db: float = Field(ge=0, description="Standard deviation of the noise")
    swath_share: float = Field(gt=0, le=1, description="Part of the days on which a swath covers a cell")
    lost_share: float = Field(ge=0, lt=1, description="Part of the covered days that is lost")
    overpass_hours: tuple[Annotated[float, Field(ge=0, lt=24)], ...] = Field(
        (),
        description="Hours (UTC) of the day's overpasses, each an observation of its own of nature at that hour; none: "
        "one a day, at the analysis hour",
    )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.overpass_hours) != sorted(set(self.overpass_hours)):
            raise ValueError(f"overpass_hours must rise, got {self.overpass_hours}")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_hours(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What identifies it: without hours where there are none, as before there was a choice."""
        values: dict[str, Any] = serialize(self)
        return {key: value for key, value in values.items() if key != "overpass_hours" or value}


class SwiConfig(StrictModel):
    """Soil water index from surface wetness on the days of backscatter."""

    noise: float = Field(ge=0, description="Standard deviation of the noise of surface wetness (0-1)")
    time_constant_days: float = Field(gt=0)


class LaiConfig(StrictModel):
    """Leaf area index on the 10th, the 20th and the last day of each month."""

    relative_error: float = Field(ge=0)
    missing_share: float = Field(ge=0, lt=1)


class InsituConfig(StrictModel):
    """Soil moisture at stations."""

    network: str
    noise: float = Field(ge=0, description="m3 m-3, from day to day")
    offset_deviation: float = Field(ge=0, description="m3 m-3, a station against its cell")
    gain_deviation: float = Field(ge=0, description="Of the logarithm of the station's variations over its cell's")


class ObservationConfig(StrictModel):
    """Errors and dates of the observations."""

    water_cloud: WaterCloudConfig
    sigma40: Sigma40Config
    swi: SwiConfig
    lai: LaiConfig
    insitu: InsituConfig


# In the identity of a nature run stand the options that its file gives.
GivenOptions = Annotated[LandOptions, PlainSerializer(lambda options: options.model_dump(exclude_unset=True))]


class NatureConfig(StrictModel):
    """The nature run: how it differs from the model, and how it is observed."""

    seed: int = Field(ge=0, description="Of nature's own random numbers, beside the experiment's seed")
    spin_up_years: int = Field(ge=0, description="Repetitions of the first year")
    options: GivenOptions = Field(LandOptions(), description="Options of its land model that are not the default")
    forcing_correlation: ForcingErrorConfig
    cover: RandomField = Field(description="Logarithm of a factor of each patch fraction, before they are scaled to 1")
    clay: RandomField
    sand: RandomField
    parameters: tuple[ParameterError, ...]
    management: ManagementConfig
    observations: ObservationConfig


@cache
def default_nature() -> NatureConfig:
    """The committed nature run."""
    with as_file(files("ldas.pipeline.twin").joinpath("nature.yaml")) as path:
        return load_model(path, NatureConfig)


@lru_cache(maxsize=8)
def _nature_of(path: Path, changed: int) -> NatureConfig:
    """A nature run of the user; its tasks ask for it again and again. changed: time of the file's last change."""
    return load_model(path, NatureConfig)
