"""Noisy observations: errors and dates as configured, independent of neighbours, nothing where there is no state."""

import numpy as np
import pytest

from ldas.assim.quality import Quality
from ldas.pipeline.twin.fields import Places
from ldas.pipeline.twin.noisy_observations import LARGEST_LAI, Cells, Observer, lai_days, unreliable
from tests.pipeline.twin.support import GRID, nature

DAYS = np.arange(np.datetime64("2010-01-01", "s"), np.datetime64("2014-01-01", "s"), np.timedelta64(1, "D"))
SETTINGS = nature().observations


def observer(cells: slice = slice(None), seed: int = 1) -> Observer:
    count = len(GRID)
    fraction = np.zeros((count, 12))
    fraction[:, 6], fraction[:, 9] = np.linspace(0.1, 0.9, count), np.linspace(0.9, 0.1, count)
    clay, sand = np.linspace(0.1, 0.4, count), np.linspace(0.6, 0.2, count)
    places = Places(GRID.latitude[cells], GRID.longitude[cells])
    return Observer(SETTINGS, seed, "observations", Cells(places, fraction[cells], clay[cells], sand[cells]), DAYS)


def run() -> dict[str, np.ndarray]:
    day = np.arange(len(DAYS))[:, None]
    cell = np.arange(len(GRID))
    return {
        "WG2": 0.25 + 0.07 * np.sin(day / 9.0 + cell),
        "WG3": 0.26 + 0.05 * np.sin(day / 9.0 + cell),
        "LAI": 2.0 - 1.5 * np.cos(2 * np.pi * day / 365.25) + 0.0 * cell,
        "TG2": 288.0 - 10.0 * np.cos(2 * np.pi * day / 365.25) + 0.0 * cell,
        "SWE": np.zeros((len(DAYS), len(GRID))),
    }


def cut(values: dict[str, np.ndarray], cells: slice) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(array[:, cells]) for name, array in values.items()}


@pytest.fixture(scope="module")
def made() -> Observer:
    return observer()


def test_backscatter_has_the_noise_and_the_dates_that_were_asked_for(made: Observer) -> None:
    observed, truth = made.sigma40(run()), made.true_sigma40(run()["WG2"], run()["LAI"])
    seen = observed.quality == Quality.USED
    error = (observed.value - truth)[seen]
    assert error.std() == pytest.approx(SETTINGS.sigma40.noise_db, rel=0.02)
    assert abs(error.mean()) < 0.01
    assert np.abs(np.corrcoef(error[1:], error[:-1])[0, 1]) < 0.02  # white
    assert seen.mean() == pytest.approx(0.80, abs=0.02)
    assert seen.mean(axis=0).min() > 0.76
    np.testing.assert_allclose(observed.uncertainty[seen], 0.33)
    assert np.isnan(observed.value[~seen]).all()
    assert (observed.quality[~seen] == Quality.MISSING).all()
    assert ((truth > -22) & (truth < -4)).all()


def test_backscatter_rises_with_moisture_and_cells_differ(made: Observer) -> None:
    wetter = made.true_sigma40(run()["WG2"] + 0.01, run()["LAI"])
    assert (wetter > made.true_sigma40(run()["WG2"], run()["LAI"])).all()
    parameters = made.water_cloud().parameters
    assert len(np.unique(parameters[:, 2])) == len(GRID)
    assert (parameters[:, [0, 1, 3]] > 0).all()


def test_soil_water_index_is_the_weighted_mean_of_noisy_wetness(made: Observer) -> None:
    observed = made.swi(run())
    seen = observed.quality == Quality.USED
    assert seen.mean() == pytest.approx(0.80, abs=0.02)
    assert ((observed.value[seen] >= 0) & (observed.value[seen] <= 1)).all()
    for cell in (0, 7):
        there = np.flatnonzero(seen[:, cell])
        moisture = run()["WG2"][there, cell]
        assert np.corrcoef(observed.value[there, cell], moisture)[0, 1] > 0.85
        # Wagner et al. (1999): the mean of all wetness up to then, weighted by exp(-age). Solved for the wetness, it
        # must be linear in soil moisture but for the noise that was asked for.
        weight = np.exp(-np.maximum(there[:, None] - there, 0).astype(float))
        weight[there[:, None] < there] = 0.0
        wetness = np.linalg.solve(weight, observed.value[there, cell] * weight.sum(axis=1))
        noise = wetness - np.polyval(np.polyfit(moisture, wetness, 1), moisture)
        assert noise.std() == pytest.approx(SETTINGS.swi.noise, rel=0.08)
        assert wetness.min() > -1e-6
        assert wetness.max() < 1.0 + 1e-6


def test_leaf_area_index_every_ten_days_with_its_relative_error(made: Observer) -> None:
    days = DAYS[lai_days(DAYS)].astype("datetime64[D]")
    assert len(days) == 4 * 36
    assert {str(day)[8:] for day in days} == {"10", "20", "28", "29", "30", "31"}
    observed, truth = made.lai(run()), run()["LAI"][lai_days(DAYS)]
    seen = observed.quality == Quality.USED
    assert seen.mean() == pytest.approx(1.0 - SETTINGS.lai.missing_share, abs=0.03)
    relative = (observed.value / truth - 1.0)[seen]
    assert relative.std() == pytest.approx(0.20, rel=0.05)
    assert abs(relative.mean()) < 0.01
    np.testing.assert_allclose(observed.uncertainty[seen], 0.2 * observed.value[seen])
    assert observed.value[seen].max() <= LARGEST_LAI


def test_stations_follow_their_cell(made: Observer) -> None:
    one, other = made.station("SBR", 3, run()), made.station("CDM", 3, run())
    assert (one != other).any()
    assert np.corrcoef(one, run()["WG2"][:, 3])[0, 1] > 0.9
    assert ((one > 0) & (one < 0.5)).all()
    surface_only = {name: values for name, values in run().items() if name != "WG3"}
    assert np.corrcoef(made.station("SBR", 3, surface_only), run()["WG2"][:, 3])[0, 1] > 0.9


def test_frost_and_snow_are_flagged(made: Observer) -> None:
    values = run()
    values["SWE"][10:20, 2] = 5.0
    values["TG2"][30:40] = 272.0
    flagged = unreliable(values)
    assert flagged.sum() == 10 + 10 * len(GRID)
    observed = made.sigma40(values)
    codes = set(np.unique(observed.quality[30:40]))
    assert codes == {Quality.MISSING, Quality.MASKED_PRODUCT_FLAG}
    assert not unreliable({name: values[name] for name in ("WG2", "LAI")}).any()


def test_blocks_have_the_same_observations(made: Observer) -> None:
    cells = slice(5, 9)
    part, values = observer(cells), run()
    for name in ("sigma40", "swi", "lai"):
        whole, block = getattr(made, name)(values), getattr(part, name)(cut(values, cells))
        for one, other in zip(vars(whole).values(), vars(block).values(), strict=True):
            np.testing.assert_array_equal(one[:, cells], other)
    np.testing.assert_array_equal(made.station("SBR", 6, values), part.station("SBR", 1, cut(values, cells)))


def test_seeds_give_other_noise(made: Observer) -> None:
    one, other = made.sigma40(run()), observer(seed=2).sigma40(run())
    assert not np.array_equal(one.value, other.value, equal_nan=True)


def test_a_cell_without_states_has_no_observations(made: Observer) -> None:
    values = run()
    values["WG2"][:, 4] = np.nan
    for observed in (made.sigma40(values), made.swi(values)):
        assert (observed.quality[:, 4] == Quality.MISSING).all()
        assert (observed.quality[:, 3] == Quality.USED).any()
