"""No key of the twin and the globe without effect: another value of each key of the sections `twin` and `globe`, and of
the file of the nature run, shows in the land, weather, nature, events or observations that are made with it."""

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ldas import landmodel
from ldas.pipeline.settings.twin import GlobeConfig, NatureConfig, TwinConfig
from ldas.pipeline.twin.daily_weather import Latent
from ldas.pipeline.twin.fields import DAY
from ldas.pipeline.twin.globe import globe_land, globe_places, globe_weather
from ldas.pipeline.twin.hourly_weather import hourly_weather
from ldas.pipeline.twin.land import climate_of, make_land
from ldas.pipeline.twin.nature import Nature, forcing_variation, make_nature
from ldas.pipeline.twin.noisy_observations import Cells, Observer
from ldas.pipeline.twin.stages import Twin
from tests.pipeline.settings.test_effects import Elsewhere, shown_elsewhere, with_value
from tests.pipeline.settings.test_every_key import every_key, keys
from tests.pipeline.twin.support import GRID, SITES, climate, experiment, nature, nature_file

SPRING = np.datetime64("2009-04-01")


@cache
def land() -> xr.Dataset:
    """Three cells with crops and grass."""
    return make_land(TwinConfig(subset="crops")).isel(cell=slice(2, 5))


def made_land(settings: TwinConfig) -> Any:
    return {name: array.to_numpy() for name, array in make_land(settings).data_vars.items()}


def weather(settings: TwinConfig) -> Any:
    """Five days of spring at the two places that the statistics are from."""
    latent = Latent(settings.seed, settings.weather, climate(SITES))
    return hourly_weather(latent, SPRING, SPRING + 5 * DAY)


def seed_of_nature(settings: TwinConfig) -> Any:
    return settings.nature_settings().seed


def nature_of(settings: NatureConfig) -> Nature:
    return make_nature(settings, 1, land(), 1800)


def columns(settings: NatureConfig) -> Any:
    """Parameters of nature's columns and options of its model."""
    made = nature_of(settings)
    return made.parameters.to_rows(), made.parameters.fraction, made.options()


def natural_weather(settings: NatureConfig) -> Any:
    """Nature's weather, beside that of the forcing."""
    latent = Latent(1, TwinConfig().weather, climate(SITES), forcing_variation(settings))
    return hourly_weather(latent, SPRING, SPRING + 5 * DAY)


def spun_up(settings: NatureConfig) -> Any:
    """Nature's state at the start of the period, in one cell."""
    config = experiment("memory://nature", start=str(SPRING), end=str(SPRING + 9 * DAY))
    one = land().isel(cell=slice(0, 1))
    stage = Twin("twin", config.location, 1, 1, config, TwinConfig())
    latent = Latent(1, TwinConfig().weather, climate_of(one), forcing_variation(settings))
    made = make_nature(settings, 1, one, 1800)
    return stage._initial_state(None, None, stage.periods()[0], made, latent)  # type: ignore[arg-type]


def events(settings: NatureConfig) -> Any:
    """What farmers do in a year."""
    found = nature_of(settings).calendar.events(np.datetime64("2009-01-01"), np.datetime64("2010-01-01"))
    return [(day, event.action, event.columns) for day, those in found.items() for event in those]


def summer(settings: NatureConfig) -> Any:
    """Nature in June, from soil that is dry below 10 cm: grass is cut, maize is watered."""
    made, (start, stop) = nature_of(settings), JUNE
    wet, dry = (landmodel.cold_start(made.parameters, relative_moisture=part, leaf_area_index=3.0) for part in (1, 0.3))
    dry = dry._replace(soil_water=np.where(np.arange(14) < 4, wet.soil_water, dry.soil_water))
    return made.run(dry, june(), start, stop, landmodel.OutputRequest(instant=("LAI", "WG"), instant_hour=9))


@cache
def june() -> dict[str, np.ndarray]:
    """The weather of all these runs."""
    return hourly_weather(Latent(1, TwinConfig().weather, climate_of(land())), *JUNE)


def observations(settings: NatureConfig) -> Any:
    """Half a year of observations of a made-up run."""
    days = np.arange(np.datetime64("2010-01-01", "s"), np.datetime64("2010-07-01", "s"), DAY)
    fraction = np.zeros((len(GRID), 12))
    fraction[:, 6], fraction[:, 9] = 0.4, 0.6
    soil = np.full(len(GRID), 0.3)
    made = Observer(settings.observations, 1, f"observations {settings.seed}", Cells(GRID, fraction, soil, soil), days)
    day = np.arange(len(days))[:, None]
    moisture = 0.25 + 0.07 * np.sin(day / 9.0 + np.arange(len(GRID)))
    run = {"WG2": moisture, "LAI": 1.0 + 10.0 * moisture, "TG2": 288.0 + 0.0 * moisture}
    seen = [made.sigma40(run), made.swi(run), made.lai(run)]
    return [vars(kind) for kind in seen], made.station("A", 0, run)


def land_of_globe(settings: GlobeConfig) -> Any:
    return {name: array.to_numpy() for name, array in globe_land(settings).data_vars.items()}


def weather_of_globe(settings: GlobeConfig) -> Any:
    """A day of spring."""
    places = globe_places(settings)
    return globe_weather(settings.seed, np.array([SPRING]), places, np.arange(len(places)))


JUNE = (np.datetime64("2009-06-02"), np.datetime64("2009-06-16"))
STAGES, FILE = "twin/test_twin_stages.py", "nature.yaml"
Shows = Callable[[Any], Any]
OF_TWIN: dict[str, tuple[Any, Shows] | Elsewhere] = {
    "seed": (2, weather),
    "region.south": (43.0, made_land),
    "region.north": (45.0, made_land),
    "region.west": (0.0, made_land),
    "region.east": (3.0, made_land),
    "region.step": (0.5, made_land),
    "subset": ("crops", made_land),
    "masks.topography": (0.05, made_land),
    "masks.water": (0.01, made_land),
    "masks.urban": (0.02, made_land),
    **{f"weather.{name}.{key}": (value, weather)
       for name in ("rain", "rain_hour", "rain_rate", "clearness", "temperature", "humidity", "wind", "pressure")
       for key, value in (("length_km", 50.0), ("pairs", 4))},
    "nature": (FILE, seed_of_nature),
    "from_run": Elsewhere(STAGES, "test_observations_of_an_existing_run"),
    "from_url": Elsewhere(STAGES, "test_observations_of_an_existing_run"),
}  # fmt: skip
GLOBE = {"seed": 1, "cells": 3}
OF_GLOBE: list[tuple[str, Any, Shows]] = [
    ("seed", 2, land_of_globe),
    ("seed", 2, weather_of_globe),
    ("cells", 4, land_of_globe),
]
OF_NATURE: dict[str, tuple[Any, Shows] | Elsewhere] = {
    "seed": (7, natural_weather),
    "spin_up_years": (1, spun_up),
    **{f"options.{name}": (value, columns) for name, value in
       (("pedotransfer", "CH78"), ("light_scheme", "gauss"), ("runoff", "WSAT"), ("horton", True), ("drip", "SGH"),
        ("snow_layers", 3), ("soil_respiration", "PRM"), ("conserve_heat", True), ("energy_substep_s", 100.0))},
    **{f"forcing_correlation.{name}": (0.3, natural_weather)
       for name in ("rain", "rain_hour", "rain_rate", "clearness", "temperature", "humidity", "wind", "pressure")},
    **{f"{name}.{key}": (value, columns) for name in ("cover", "clay", "sand")
       for key, value in (("deviation", 0.1), ("length_km", 10.0))},
    "parameters.deviation": (0.5, columns),
    "parameters.length_km": (10.0, columns),
    "parameters.name": ("DROOT", columns),
    "parameters.patches": ([7, 10], columns),
    "parameters.factor": (1.5, columns),
    "management.second_field_share": (0.5, columns),
    **{f"management.{crop}.{key}": (value, events) for crop in ("winter_crop", "summer_crop", "maize")
       for key, value in (("emergence_day", 140), ("harvest_day", 220), ("spread_days", 3.0))},
    "management.clearing_interval_days": (20, events),
    "management.grass_cut.days": ([100], events),
    "management.grass_cut.spread_days": (2.0, events),
    "management.grass_cut.part_left": (0.7, summer),
    "management.irrigation.first_day": (170, events),
    "management.irrigation.last_day": (200, events),
    "management.irrigation.interval_days": (3, events),
    "management.irrigation.below": (0.1, summer),
    "management.irrigation.depth_m": (0.05, summer),
    "management.irrigation.amount_kg_m2": (5.0, summer),
    "management.irrigation.first_hour_utc": (3, summer),
    "management.irrigation.hours": (2, summer),
    **{f"observations.water_cloud.patches.{name}": (value, observations) for name, value in
       (("vegetation_scattering", 0.1), ("vegetation_attenuation", 0.4), ("dry_soil_backscatter", -20.0),
        ("soil_moisture_sensitivity", 5.0))},
    "observations.water_cloud.relative_deviation": (0.5, observations),
    "observations.water_cloud.backscatter_deviation_db": (2.0, observations),
    "observations.water_cloud.length_km": (200.0, observations),
    "observations.sigma40.noise_db": (1.0, observations),
    "observations.sigma40.swath_share": (0.5, observations),
    "observations.sigma40.lost_share": (0.5, observations),
    "observations.sigma40.overpass_hours": Elsewhere(STAGES, "test_backscatter_at_two_hours_a_day"),
    "observations.swi.noise": (0.2, observations),
    "observations.swi.time_constant_days": (10.0, observations),
    "observations.lai.relative_error": (0.5, observations),
    "observations.lai.missing_share": (0.6, observations),
    "observations.insitu.network": Elsewhere(STAGES, "test_backscatter_at_two_hours_a_day"),
    "observations.insitu.noise": (0.1, observations),
    "observations.insitu.offset_deviation": (0.2, observations),
    "observations.insitu.gain_deviation": (0.9, observations),
}  # fmt: skip


def test_every_key_has_an_entry() -> None:
    of_twin = {key.removeprefix("twin.") for key in every_key() if key.startswith("twin.")}
    assert set(OF_TWIN) == of_twin
    assert {f"globe.{key}" for key, *_ in OF_GLOBE} == {key for key in every_key() if key.startswith("globe.")}
    schema = NatureConfig.model_json_schema()
    assert set(OF_NATURE) == set(keys(schema, schema["$defs"]))


def test_effects_shown_elsewhere_are_shown_there() -> None:
    shown_elsewhere({**OF_TWIN, **OF_NATURE})


@pytest.fixture(scope="module")
def before() -> Callable[[Shows, Any], bytes]:
    """What shows without the other values."""
    kept: dict[Shows, bytes] = {}

    def of(shows: Shows, settings: Any) -> bytes:
        if shows not in kept:
            kept[shows] = pickle.dumps(shows(settings))
            assert kept[shows] == pickle.dumps(shows(settings)), "differs by itself"
        return kept[shows]

    return of


@pytest.mark.parametrize("key", [key for key, entry in OF_TWIN.items() if not isinstance(entry, Elsewhere)])
def test_another_value_of_the_twin_shows(before: Callable[[Shows, Any], bytes], tmp_path: Path, key: str) -> None:
    value, shows = OF_TWIN[key]  # type: ignore[misc]
    if value == FILE:
        value = nature_file(tmp_path, seed=7)
    other = TwinConfig.model_validate(with_value(TwinConfig().model_dump(), key, value))
    assert pickle.dumps(shows(other)) != before(shows, TwinConfig())


@pytest.mark.parametrize("key", [key for key, entry in OF_NATURE.items() if not isinstance(entry, Elsewhere)])
def test_another_value_of_nature_shows(before: Callable[[Shows, Any], bytes], key: str) -> None:
    value, shows = OF_NATURE[key]  # type: ignore[misc]
    usual = nature().model_dump(mode="json") | {"spin_up_years": 0}
    other = NatureConfig.model_validate(with_value(usual, key, value))
    assert pickle.dumps(shows(other)) != before(shows, NatureConfig.model_validate(usual))


@pytest.mark.parametrize(("key", "value", "shows"), OF_GLOBE)
def test_another_value_of_the_globe_shows(
    before: Callable[[Shows, Any], bytes], key: str, value: Any, shows: Shows
) -> None:
    other = GlobeConfig.model_validate({**GLOBE, key: value})
    assert pickle.dumps(shows(other)) != before(shows, GlobeConfig.model_validate(GLOBE))
