"""Predictors beyond layers and leaf area: intercepted water, and the season, which no state has."""

from typing import Any

import numpy as np
import pytest

from ldas.assim import (
    ObservationError,
    ObservationType,
    SEKFConfiguration,
    SimplifiedEKF,
    Window,
    WindowObservations,
)
from ldas.assim import testing as toy
from ldas.assim.errors import FilterConfigurationError
from ldas.assim.overpasses import observation_rows
from ldas.assim.predictors import predictor, predictor_unit, season
from ldas.landmodel import Isba, OutputRequest, cold_start
from tests.assim.cycles import CELLS, FRACTIONS, random_transition, three_cells
from tests.landmodel.support import constant_forcing, simple_columns, with_snow

START = "2015-03-01T09"


class Linear:
    """dB from any predictors, with one slope each, in every cell."""

    output_name, output_unit = "sigma40", "dB"

    def __init__(self, slopes: dict[str, float], cells: Any = (0, 1, 2)) -> None:
        self.slopes, self.predictor_names = slopes, tuple(slopes)
        self.predictor_units = tuple(map(predictor_unit, slopes))
        self.cell_ids = np.asarray(cells)
        self.usable = np.ones(self.cell_ids.size, dtype=bool)

    def predict(self, predictors: np.ndarray) -> np.ndarray:
        return -14.0 + predictors @ np.array([*self.slopes.values()])

    def jacobian(self, predictors: np.ndarray) -> np.ndarray:
        return np.broadcast_to([*self.slopes.values()], predictors.shape).copy()

    def select(self, cells: Any) -> "Linear":
        return Linear(self.slopes, self.cell_ids[cells])


def kalman(**slopes: float) -> SimplifiedEKF:
    kind = ObservationType("sigma40", Linear(slopes), ObservationError("absolute", 0.33))
    return SimplifiedEKF(SEKFConfiguration(), [kind], np.arange(3))


def test_season_is_a_circle_once_a_year() -> None:
    assert season("DOY_COS", np.datetime64("2001-01-01")) == 1.0
    assert season("DOY_SIN", np.datetime64("2001-01-01")) == 0.0
    times = np.array(["2001-04-02T07:27:18", "2002-01-01T05:49:12", "2024-07-01", "NaT"], dtype="datetime64[s]")
    np.testing.assert_allclose(season("DOY_SIN", times[:2]), [1.0, 0.0], atol=1e-4)
    assert season("DOY_COS", times)[2] == pytest.approx(-1.0, abs=1e-3)
    assert np.isnan(season("DOY_COS", times)[3])


def test_units_and_unknown_names() -> None:
    assert [predictor_unit(name) for name in ("WG7", "TG2", "WR", "DOY_SIN")] == ["m3 m-3", "K", "kg m-2", "1"]
    with pytest.raises(FilterConfigurationError, match=r"unknown state variable 'VOD'.*WR .*T2M.*DOY_COS, DOY_SIN"):
        predictor_unit("VOD")


def test_intercepted_water_and_season_move_the_prediction_and_nothing_else() -> None:
    """Against the same filter without them, whose observations are less by what they add."""
    parameters, state, forcing = three_cells()
    state = state._replace(intercepted_water=np.linspace(0.0, 1.0, len(CELLS)))
    model, window = toy.LinearModel(parameters, random_transition()), Window.cut(forcing, START)
    water = np.bincount(CELLS, weights=np.array(FRACTIONS) * state.intercepted_water)
    added = 3.0 * water + 2.0 * float(season("DOY_SIN", np.datetime64("2015-03-02T09")))
    with_them, without = kalman(WR=3.0, DOY_SIN=2.0, WG2=12.0), kalman(WG2=12.0)
    np.testing.assert_allclose(predictor(with_them.controls_of(parameters), state, "WR", window.end), water)

    plain = without.cycle(model, state, window, {"sigma40": WindowObservations(np.full(3, -11.0))})
    both = with_them.cycle(model, state, window, {"sigma40": WindowObservations(-11.0 + added)})
    np.testing.assert_allclose(both.predicted[:, 0], plain.predicted[:, 0] + added, rtol=1e-12)
    np.testing.assert_allclose(both.jacobian, plain.jacobian, rtol=1e-9, atol=1e-12)
    assert np.abs(plain.increment).max() > 1e-4
    np.testing.assert_allclose(both.increment, plain.increment, rtol=1e-9, atol=1e-12)


def test_what_is_diagnosed_at_the_hour_of_an_overpass() -> None:
    parameters = simple_columns(("GRAS", "C3", "BONE"), air_height=10.0)
    state = with_snow(cold_start(parameters, 270.0), [30.0, 0.0, 80.0], 200.0, 265.0)
    window = Window.cut(constant_forcing(25, 3, Tair=266.0, Qair=0.0015, LWdown=250.0), START)
    hours = np.array([0.2, 6.0, 23.0])  # the first one lies nearest to the start, where nothing is diagnosed yet
    time = (window.start + (3600.0 * hours).astype("timedelta64[s]"))[:, None]
    slopes = {"T2M": 0.1, "SNOW_DEPTH": 2.0, "SWE": 0.01, "TG2": 0.02}
    given = {"sigma40": WindowObservations(np.full((3, 1), -11.0), time=time)}
    result = kalman(**slopes).cycle(Isba(parameters), state, window, given)
    request = OutputRequest(end=("T2M", "SNOW_DEPTH", "SWE", "TG"), interval_s=1800.0)
    _, outputs = window.run(Isba(parameters), state, output=request)
    outputs["TG2"] = outputs["TG"][..., 1]
    cells = np.arange(3)
    expected = -14.0 + sum(slope * outputs[name][[0, 11, 45], cells] for name, slope in slopes.items())
    np.testing.assert_allclose(result.predicted[:, 0], expected, rtol=1e-12)


def test_an_overpass_has_the_season_of_its_own_step() -> None:
    parameters, state, forcing = three_cells()
    filter_ = kalman(DOY_COS=1.0, WG2=1.0)
    time = np.array([["2015-03-01T22:10"], ["2015-03-02T05:00"], ["NaT"]], dtype="datetime64[s]")
    given = {"sigma40": WindowObservations(np.where(np.isnat(time), np.nan, -11.0), time=time)}
    (row,) = observation_rows(filter_.observation_types, given, Window.cut(forcing, START))
    there = np.array(["2015-03-01T22:00", "2015-03-02T05:00", "2015-03-02T09:00"], dtype="datetime64[s]")
    np.testing.assert_array_equal(row.time, there)  # the nearest steps of 1800 s; the window's end where there is none
    found = predictor(filter_.controls_of(parameters), state, "DOY_COS", row.time)
    np.testing.assert_array_equal(found, season("DOY_COS", there))
