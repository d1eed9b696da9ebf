"""The nature run: what farmers do and when, and that it differs from the model in the way that was asked for."""

import numpy as np
import pytest
import xarray as xr

from ldas import landmodel
from ldas.landmodel import OutputRequest
from ldas.pipeline.forcing import physics
from ldas.pipeline.settings.twin import TwinConfig
from ldas.pipeline.twin.hourly_weather import hourly_weather
from ldas.pipeline.twin.land import climate_of, make_land
from ldas.pipeline.twin.management import MAIZE, SECOND_C3_FIELD, Action, Calendar
from ldas.pipeline.twin.nature import Nature, available_water, cleared, cut, forcing_variation, make_nature
from tests.pipeline.twin.support import GRID, latent, nature

START, STOP = np.datetime64("2009-05-20"), np.datetime64("2009-08-10")
DAY = np.timedelta64(1, "D")
REQUEST = OutputRequest(instant=("WG", "LAI"), mean=("LE", "GPP"), instant_hour=9)


@pytest.fixture(scope="module")
def land() -> xr.Dataset:
    """Three cells with crops: Lahas (the clay of real ISBA states), Savenes, Saint-Felix."""
    land = make_land(TwinConfig(subset="crops"))
    return land.isel(cell=slice(2, 5))


@pytest.fixture(scope="module")
def natural(land: xr.Dataset) -> Nature:
    return make_nature(nature(), 1, land, 1800)


@pytest.fixture(scope="module")
def weather(land: xr.Dataset) -> dict[str, np.ndarray]:
    varied = type(source := latent(climate_of(land)))
    return hourly_weather(
        varied(source.seed, source.settings, source.climate, forcing_variation(nature())), START, STOP
    )


def calendar(patches: list[int], cells: int = 4) -> Calendar:
    patch = np.array(patches * cells)
    cell = np.repeat(np.arange(cells), len(patches))
    return Calendar(nature().management, (1, "nature", 2), GRID, cell, patch)


def days_of(events: dict, action: Action, column: int) -> np.ndarray:
    found = [day for day, those in events.items() for e in those if e.action is action and column in e.columns]
    return np.array(found, dtype="datetime64[D]")


def test_fields_are_bare_from_harvest_to_emergence_and_crops_rotate() -> None:
    made = calendar([7, SECOND_C3_FIELD, 8], cells=1)
    events = made.events(np.datetime64("2008-01-01"), np.datetime64("2012-01-01"))
    first, second, maize = (days_of(events, Action.CLEAR, column) for column in range(3))
    first_is_bare = []
    for year in range(2008, 2012):
        bare_in_july = [
            bool(((days >= np.datetime64(f"{year}-07-20")) & (days < np.datetime64(f"{year}-08-20"))).any())
            for days in (first, second, maize)
        ]
        bare_in_march = [
            bool(((days >= np.datetime64(f"{year}-03-01")) & (days < np.datetime64(f"{year}-04-01"))).any())
            for days in (first, second, maize)
        ]
        # One field has the winter crop (green in March, bare in August), the other the summer crop.
        assert bare_in_july[2] is False
        assert bare_in_march[2] is True
        assert bare_in_july[0] != bare_in_july[1]
        assert bare_in_march[0] != bare_in_march[1]
        assert bare_in_july[0] != bare_in_march[0]
        first_is_bare.append(bare_in_july[0])
    assert first_is_bare in ([True, False, True, False], [False, True, False, True])
    gaps = np.diff(maize[(maize > np.datetime64("2010-10-20")) & (maize < np.datetime64("2010-12-31"))]) / DAY
    assert gaps.max() <= 10  # cleared on schedule


def test_dates_belong_to_the_cell_whatever_the_period() -> None:
    made = calendar([7, 8, 10])
    span = np.datetime64("2009-03-01"), np.datetime64("2009-12-01")
    whole = made.events(np.datetime64("2008-01-01"), np.datetime64("2011-01-01"))
    part = made.events(*span)
    inside = {day: those for day, those in whole.items() if span[0] <= day < span[1]}
    assert list(inside) == list(part)
    for day, those in part.items():
        for one, other in zip(those, inside[day], strict=True):
            assert one.action is other.action
            np.testing.assert_array_equal(one.columns, other.columns)
    cuts = [days_of(whole, Action.CUT, column) for column in (2, 5)]
    assert len(cuts[0]) == 6  # two a year
    assert (cuts[0] != cuts[1]).any()  # each cell its own


def test_only_watered_crops_are_looked_at_in_the_season() -> None:
    made = calendar([7, 8, 9, 10], cells=1)
    events = made.events(np.datetime64("2009-01-01"), np.datetime64("2010-01-01"))
    season = nature().management.irrigation
    for column, patch in enumerate(made.field):
        looks = days_of(events, Action.LOOK_AT_SOIL, column)
        assert len(looks) == (0 if patch not in MAIZE else 1 + (season.last_day - season.first_day) // 5)


def test_clearing_and_cutting(natural: Nature) -> None:
    parameters = natural.parameters
    bare = landmodel.cold_start(parameters)
    grown = landmodel.cold_start(parameters, leaf_area_index=3.0)
    chosen = np.flatnonzero(parameters.vegetated > 0.5)[:2]
    after = cleared(grown, bare, chosen)
    np.testing.assert_array_equal(after.leaf_area_index[chosen], parameters.minimum_lai[chosen])
    np.testing.assert_array_equal(after.biomass[chosen], bare.biomass[chosen])
    others = np.setdiff1d(np.arange(parameters.columns), chosen)
    np.testing.assert_array_equal(after.biomass[others], grown.biomass[others])
    assert (grown.leaf_area_index[chosen] == 3.0).all()  # the state given is not changed
    mown = cut(grown, parameters, chosen, 0.4)
    np.testing.assert_allclose(mown.leaf_area_index[chosen], np.maximum(1.2, parameters.minimum_lai[chosen]))
    np.testing.assert_allclose(mown.biomass[chosen], 0.4 * grown.biomass[chosen])
    again = cut(bare, parameters, chosen, 0.4)
    np.testing.assert_array_equal(again.leaf_area_index, bare.leaf_area_index)  # nothing to cut


def test_available_water_is_one_at_capacity_and_zero_at_wilting(natural: Nature) -> None:
    for moisture in (0.0, 0.4, 1.0):
        state = landmodel.cold_start(natural.parameters, relative_moisture=moisture)
        np.testing.assert_allclose(available_water(natural.parameters, state, 0.6), moisture, atol=1e-12)


def test_watering_reaches_dry_maize_only(natural: Nature, weather: dict[str, np.ndarray]) -> None:
    dry = landmodel.cold_start(natural.parameters, relative_moisture=0.2)
    forcing = natural._with_irrigated_cells(weather)
    before = forcing["Rainf"].copy()
    watered = natural.irrigated[:1]
    wet = landmodel.cold_start(natural.parameters, relative_moisture=1.0)
    natural._irrigate(wet, forcing, watered, 48)
    np.testing.assert_array_equal(forcing["Rainf"], before)
    natural._irrigate(dry, forcing, watered, 48)
    added = (forcing["Rainf"] - before) * physics.SECONDS_PER_HOUR
    season = natural.settings.management.irrigation
    np.testing.assert_allclose(added.sum(axis=0)[3], season.amount_kg_m2)
    assert added.sum() == pytest.approx(season.amount_kg_m2)
    assert set(np.flatnonzero(added[:, 3])) == {48 + season.first_hour_utc + 1 + n for n in range(season.hours)}


def test_two_runs_in_a_row_are_one_run(natural: Nature, weather: dict[str, np.ndarray]) -> None:
    middle = np.datetime64("2009-07-03")
    split = 24 * int((middle - START) / DAY)
    state = natural.cold_start(weather)
    whole, outputs = natural.run(state, weather, START, STOP, REQUEST)
    half, first = natural.run(state, {n: v[: split + 1] for n, v in weather.items()}, START, middle, REQUEST)
    rest, second = natural.run(half, {n: v[split:] for n, v in weather.items()}, middle, STOP, REQUEST)
    assert all(one.tobytes() == other.tobytes() for one, other in zip(whole, rest, strict=True))
    for name, values in outputs.items():
        np.testing.assert_array_equal(values, np.concatenate([first[name], second[name]]))


def test_a_cell_does_not_depend_on_its_neighbours(
    land: xr.Dataset, natural: Nature, weather: dict[str, np.ndarray]
) -> None:
    alone = make_nature(nature(), 1, land.isel(cell=[1]), 1800)
    mine = natural.parameters.cell == 1
    stop = np.datetime64("2009-07-15")
    records = 24 * int((stop - START) / DAY) + 1
    short = {name: values[:records] for name, values in weather.items()}
    _, together = natural.run(natural.cold_start(short), short, START, stop, REQUEST)
    single = {name: np.ascontiguousarray(values[:, 1:2]) for name, values in short.items()}
    _, apart = alone.run(alone.cold_start(single), single, START, stop, REQUEST)
    np.testing.assert_array_equal(apart["LAI"], together["LAI"][:, mine])
    np.testing.assert_array_equal(apart["WG"], together["WG"][:, mine])


def test_nature_differs_from_the_model(land: xr.Dataset, natural: Nature, weather: dict[str, np.ndarray]) -> None:
    usual = landmodel.columns_from_fractions(
        *(land[name].to_numpy() for name in ("patch_fraction", "clay", "sand", "latitude", "longitude"))
    )
    assert natural.parameters.columns > usual.columns  # the second field of C3 crops
    crops = (
        natural.parameters.fraction[natural.field == 7] + natural.parameters.fraction[natural.field == SECOND_C3_FIELD]
    )
    assert (np.abs(np.log(crops / usual.fraction[usual.patch == 7])) > 0.01).all()  # another cover
    cells = land.sizes["cell"]
    np.testing.assert_allclose(np.bincount(natural.parameters.cell, natural.parameters.fraction, cells), 1.0)
    for name in ("mesophyll_conductance", "senescence_time", "leaf_biomass_ratio"):
        crops = getattr(natural.parameters, name)[natural.field == 7]
        assert len(np.unique(crops)) == cells  # other plants in every cell
        assert (crops != getattr(usual, name)[usual.patch == 7]).all()
    assert (natural.parameters.clay[natural.field == 7] != usual.clay[usual.patch == 7]).all()
    state = landmodel.cold_start(natural.parameters, leaf_area_index=3.0)
    _, true = natural.run(state, weather, START, STOP, REQUEST)
    forcing = landmodel.Forcing(**{name: weather[name] for name in landmodel.Forcing._fields})
    _, modelled = landmodel.Isba(usual).run(
        landmodel.cold_start(usual, leaf_area_index=3.0), forcing, START, output=REQUEST
    )
    # Winter crops are harvested at the beginning of July; the model keeps them.
    late_july = slice(65, 75)
    events = natural.calendar.events(np.datetime64("2009-07-10"), np.datetime64("2009-07-25"))
    harvested = np.unique(
        [c for those in events.values() for e in those if e.action is Action.CLEAR for c in e.columns]
    )
    assert (np.bincount(natural.parameters.cell[harvested]) == 1).all()  # one of the two fields of each cell
    assert true["LAI"][late_july, harvested].max() < 0.9
    assert modelled["LAI"][late_july, usual.patch == 7].min() > 1.2
    for name, least in (("LAI", 0.1), ("WG", 0.005)):
        one, other = (values[name] if name == "LAI" else values[name][..., 1] for values in (true, modelled))
        difference = landmodel.aggregate(one, natural.parameters, cells) - landmodel.aggregate(other, usual, cells)
        assert (np.sqrt(np.mean(difference**2, axis=0)) > least).all(), name
