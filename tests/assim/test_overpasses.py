"""Overpasses at their own time: compared with the model at the nearest step, with the Jacobian of their hour."""

import numpy as np
import pytest

from ldas.assim import EnSRFConfiguration, ObservationInputError, SEKFConfiguration, Window, WindowObservations
from ldas.assim.overpasses import nearest_steps
from ldas.assim.quality import Quality
from ldas.assim.sekf_analysis import grid_mean
from ldas.landmodel import Forcing, Isba, OutputRequest, cold_start, columns
from tests.assim.cycles import assert_same_bits, lai_type, sigma_type

START = np.datetime64("2007-06-01T09", "s")
HOURS = np.arange(25)[:, None] + np.array([0.0, 3.0])
NAT = np.datetime64("NaT", "s")


def inputs() -> tuple[Isba, Window]:
    """Two cells of two patches, with a day of sun and a shower."""
    place = {"clay": np.full(4, 0.25), "sand": np.full(4, 0.4), "latitude": 44.0, "longitude": 0.0}
    cell, patch, fraction = np.array([0, 0, 1, 1]), np.array([7, 10, 4, 7]), np.array([0.6, 0.4, 0.3, 0.7])
    parameters = columns(["C3", "GRAS", "TEBD", "C3"], cell=cell, patch=patch, fraction=fraction, **place)
    ones = np.ones_like(HOURS)
    sun = np.maximum(0.0, np.cos((HOURS - 3.0) / 12.0 * np.pi))
    values = (287.0 + 6.0 * sun, 0.006 * ones, 3.0 * ones, 98000.0 * ones, 700.0 * sun, 320.0 * ones)
    rain = np.where((HOURS > 10) & (HOURS < 13), 5e-4, 0.0)
    forcing = Forcing(*values, Rainf=rain, Snowf=0.0 * ones, CO2air=7e-4 * ones)
    return Isba(parameters), Window(START, forcing)


def after(hours: list[float]) -> np.ndarray:
    """Times so many hours after the window's start; none for NaN."""
    seconds = np.nan_to_num(np.array(hours) * 3600.0).astype("timedelta64[s]")
    return np.where(np.isnan(hours), NAT, START + seconds)


def test_the_nearest_step_is_taken_and_midway_the_later_one() -> None:
    times = START + np.array([0, 899, 900, 1801, 86400]).astype("timedelta64[s]")
    assert nearest_steps(times, START, 1800).tolist() == [0, 0, 1, 1, 48]


def test_each_overpass_has_the_equivalent_and_the_jacobian_of_its_hour() -> None:
    model, window = inputs()
    start = cold_start(model.parameters, leaf_area_index=2.0)
    time = np.stack([after([11.6, 24.0]), after([23.9, np.nan])])
    value = np.array([[-10.0, -9.0], [-11.0, np.nan]])
    ekf = SEKFConfiguration().make([sigma_type([0, 1]), lai_type([0, 1])], [0, 1])
    given = {"sigma40": WindowObservations(value, time=time)}
    result = ekf.cycle(model, start, window, given, output=OutputRequest(end=("WG",)))
    assert result.quality.tolist() == [[0, 0, Quality.MISSING], [0, Quality.MISSING, Quality.MISSING]]
    assert set(result.outputs) == {"WG"}

    controls = ekf.controls_of(model.parameters)
    request = OutputRequest(end=("WG", "TG", "LAI"), interval_s=1800.0)

    def equivalents(state):
        """The backscatter (step, cell) of a run from a state, by hand."""
        _, outputs = window.run(model, state, output=request)
        of_step = zip(outputs["WG"][:, :, 1], outputs["TG"][:, :, 1], outputs["LAI"], strict=True)
        means = [[grid_mean(controls.fraction, controls.to_cells(v)) for v in values] for values in of_step]
        return np.array([sigma_type([0, 1]).operator.predict(np.stack(mean, axis=-1)) for mean in means])

    steps = [(0, 0, 23), (0, 1, 48), (1, 0, 48)]  # cell, row, step
    forecast = equivalents(start)
    moved = controls.perturbed_members(start, dict.fromkeys(controls.names, 0.0001))
    size = controls.perturbation(start, dict.fromkeys(controls.names, 0.0001))
    for cell, row, step in steps:
        assert result.predicted[cell, row] == pytest.approx(forecast[step - 1, cell], abs=1e-12)
    for control in (1, 2):  # WG2 and WG3, in both patches of a cell at once
        change = equivalents(moved.member(control)) - forecast
        for cell, row, step in steps:
            expected = change[step - 1, cell] / size[controls.cell == cell, control][0]
            assert result.jacobian[cell, row, :, control].sum() == pytest.approx(expected, rel=2e-3, abs=1e-4)
    # inside the window the analysis is that of the linear model
    np.testing.assert_allclose(result.residual[0], result.linear_residual[0], equal_nan=True)


@pytest.mark.parametrize("options", [SEKFConfiguration(), EnSRFConfiguration(members=3)])
def test_an_overpass_at_the_windows_end_is_the_observation_of_the_window(options) -> None:
    model, window = inputs()
    method = options.make([sigma_type([0, 1]), lai_type([0, 1])], [0, 1])
    start = method.initial_state(model.parameters, cold_start(model.parameters, leaf_area_index=2.0))
    lai = WindowObservations(np.array([2.2, np.nan]))
    value = np.array([-10.0, -11.0])
    daily = method.cycle(model, start, window, {"sigma40": WindowObservations(value), "lai": lai})
    apart = WindowObservations(value[:, None], time=np.full((2, 1), window.end))
    by_hour = method.cycle(model, start, window, {"sigma40": apart, "lai": lai})
    assert_same_bits(daily.state, by_hour.state)
    for name in ("innovation", "linear_residual", "degrees_of_freedom", "quality", "increment"):
        np.testing.assert_array_equal(getattr(daily, name), getattr(by_hour, name))


@pytest.mark.parametrize(
    ("hours", "words"),
    [([0.0, 1.0], "at 2007-06-01T09:00:00 in"), ([5.0, 24.1], "at 2007-06-02"), ([np.nan, 1.0], "without a time")],
)
def test_an_overpass_outside_the_window_or_without_hour_is_refused(hours: list[float], words: str) -> None:
    model, window = inputs()
    method = SEKFConfiguration().make([sigma_type([0, 1])], [0, 1])
    given = {"sigma40": WindowObservations(np.full((2, 2), -10.0), time=np.stack([after(hours)] * 2))}
    with pytest.raises(ObservationInputError, match=words):
        method.cycle(model, cold_start(model.parameters), window, given)
