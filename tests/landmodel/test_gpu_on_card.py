"""The land model on a card against the processor: needs a card, and is skipped elsewhere, saying why."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr

from ldas.landmodel import Forcing, Isba, OutputRequest, State, cold_start, columns
from ldas.landmodel.gpu import CardError, find_card
from ldas.landmodel.vegetation_table import VEGETATION_OF_PATCH
from tests.support import shared

pytestmark = pytest.mark.card
DAY = 48  # steps
LARGEST = {"soil_temperature": 1e-9, "soil_water": 1e-10, "soil_ice": 1e-10, "leaf_area_index": 1e-10}
LARGEST_OF_A_YEAR = {"soil_temperature": 1e-6, "soil_water": 1e-8, "leaf_area_index": 1e-7}
NAMES = ("tair", "qair", "wind", "psurf", "swdown", "lwdown", "rain", "snow", "co2")


class Site(NamedTuple):
    """The twelve patches at a place, and its weather."""

    model: Isba
    state: State
    forcing: Forcing
    start: str
    forcing_step_s: float

    def run(self, days: int, state: State | None = None, first_day: int = 0, **keys: Any) -> tuple[State, Any]:
        """Some days from a day on."""
        records = round(86400.0 / self.forcing_step_s)
        window = slice(first_day * records, (first_day + days) * records + 1)
        forcing = Forcing(*(np.asarray(values)[window] for values in self.forcing))
        start = np.datetime64(self.start, "s") + np.timedelta64(first_day, "D")
        return self.model.run(
            self.state if state is None else state, forcing, start, forcing_step_s=self.forcing_step_s, **keys
        )


@pytest.fixture(scope="module", autouse=True)
def _card() -> None:
    try:
        find_card()
    except CardError as missing:
        pytest.skip(str(missing))


def site(name: str, start: str, forcing_step_s: float, clay: float, sand: float, air_temperature: float) -> Site:
    """A site of the shared reference data."""
    with xr.open_dataset(shared(f"reference/surfex/forcing_{name}.nc")) as data:
        arrays = {n: data[f"forc_{n}"].values.astype(np.float64)[:, None] for n in (*NAMES, "swdif")}
        latitude, longitude = float(data["lat"].values.flat[0]), float(data["lon"].values.flat[0])
    arrays["swdown"] = arrays["swdown"] + arrays.pop("swdif")
    patch = np.arange(12)
    parameters = columns(
        [VEGETATION_OF_PATCH[p] for p in patch], np.zeros(12, int), patch + 1, np.full(12, 1.0 / 12.0), clay, sand,
        latitude, longitude,
    )  # fmt: skip
    forcing = Forcing(*(arrays[n] for n in NAMES))
    return Site(Isba(parameters), cold_start(parameters, air_temperature), forcing, start, forcing_step_s)


@pytest.fixture(scope="module")
def hapex() -> Site:
    return site("hapex", "1986-01-01", 1800.0, 0.37, 0.37, 282.0)


@pytest.fixture(scope="module")
def col_de_porte() -> Site:
    return site("cdp9697", "1996-10-15", 3600.0, 0.2, 0.4, 280.0)


def assert_close(found: State, expected: State, limits: dict[str, float]) -> None:
    """No value differs by more than its limit."""
    for name, limit in limits.items():
        difference = np.abs(np.asarray(getattr(found, name)) - np.asarray(getattr(expected, name)))
        assert difference.max() <= limit, name


@pytest.mark.parametrize("place", ["hapex", "col_de_porte"])
def test_ten_days_agree_with_the_processor(place: str, request: pytest.FixtureRequest) -> None:
    here: Site = request.getfixturevalue(place)
    output = OutputRequest(mean=("LE", "H", "GPP"), end=("WG", "SWE"), instant=("TG", "RN"), instant_hour=9.0)
    found, outputs = here.run(10, output=output, device="gpu")
    expected, of_processor = here.run(10, output=output)
    assert_close(found, expected, LARGEST)
    for name, values in of_processor.items():
        scale = np.nanmax(np.abs(values))
        np.testing.assert_allclose(outputs[name], values, rtol=0.0, atol=1e-9 * max(scale, 1.0), err_msg=name)


def test_a_winter_with_snow_agrees_with_the_processor(col_de_porte: Site) -> None:
    found, _ = col_de_porte.run(120, device="gpu")
    expected, _ = col_de_porte.run(120)
    assert expected.snow_water_equivalent.sum(axis=-1).max() > 100.0
    assert_close(found, expected, LARGEST)


def test_a_year_agrees_but_for_branches_of_the_last_bit(hapex: Site) -> None:
    found, _ = hapex.run(365, device="gpu")
    expected, _ = hapex.run(365)
    beyond = {
        name: int((np.abs(getattr(found, name) - getattr(expected, name)).reshape(12, -1).max(axis=1) > limit).sum())
        for name, limit in LARGEST_OF_A_YEAR.items()
    }
    assert max(beyond.values()) <= 1, beyond  # columns that took another branch


def test_members_and_those_that_are_run_alone(hapex: Site) -> None:
    state = hapex.state.members(9)
    for member in range(1, 9):
        state.soil_water[:, member, member - 1] *= 1.01
    chosen = np.ones((12, 9), dtype=bool)
    chosen[::2, 4:] = False
    together, _ = hapex.run(3, state, device="gpu")
    some, _ = hapex.run(3, state, device="gpu", where=chosen)
    for name in State._fields:
        mine, whole, before = (getattr(of, name) for of in (some, together, state))
        np.testing.assert_array_equal(mine[chosen], whole[chosen], err_msg=name)
        np.testing.assert_array_equal(mine[~chosen], before[~chosen], err_msg=name)
    alone, _ = hapex.run(3, state.member(3), device="gpu")
    np.testing.assert_array_equal(alone.soil_temperature, together.soil_temperature[:, 3])


def test_a_run_on_the_card_resumes_bit_for_bit(col_de_porte: Site) -> None:
    whole, _ = col_de_porte.run(20, device="gpu")
    middle, _ = col_de_porte.run(7, device="gpu")
    resumed, _ = col_de_porte.run(13, middle, first_day=7, device="gpu")
    assert all(np.array_equal(a, b) for a, b in zip(resumed, whole, strict=True))


def test_jacobians_of_a_filter_are_those_of_the_processor(hapex: Site) -> None:
    start, _ = hapex.run(150)  # leaves, and water to lose
    state = start.members(9)
    step = 1e-4 * (hapex.model.parameters.soil("field_capacity") - hapex.model.parameters.soil("wilting_point"))
    for layer in range(7):
        state.soil_water[:, layer + 1, layer] += step[:, layer]
    state.leaf_area_index[:, 8] += 1e-3 * (hapex.model.parameters.vegetated > 0.5)
    observed = {}
    for device in ("gpu", "cpu"):
        after, _ = hapex.run(1, state, first_day=150, device=device)
        values = np.stack([after.soil_water[:, :, 0], after.soil_water[:, :, 2], after.leaf_area_index], axis=-1)
        size = np.concatenate([step[:, :7], np.full((12, 1), 1e-3)], axis=1)
        observed[device] = (values[:, 1:] - values[:, :1]) / size[:, :, None]  # (column, control, observation)
    largest = np.abs(observed["cpu"]).max(axis=1, keepdims=True)
    difference = np.abs(observed["gpu"] - observed["cpu"]) / np.where(largest > 0.0, largest, 1.0)
    branched = (difference > 1e-6).any(axis=(1, 2)).sum()
    assert branched <= 1  # columns in which a member took another branch


def test_the_rate_of_float64_is_measured() -> None:
    from ldas.landmodel.gpu.cuda_device import first_card

    card = first_card()
    expected = 1e11 if card.card.float64_divisor < 8 else 1e10
    assert expected < card.float64_rate() < 1e15
