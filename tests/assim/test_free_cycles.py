"""Whole cycles with our own land model against SODA's, and the Jacobian of a real window over perturbation sizes.

The reference's twelve windows are run freely from one stored state (single precision) of 1986-06-01.
"""

import json

import netCDF4
import numpy as np
import pytest

from ldas import landmodel
from ldas.assim import ObservationError, ObservationType, SEKFConfiguration, SimplifiedEKF, Window, WindowObservations
from ldas.landmodel.overrides import OVERRIDES
from ldas.landmodel.thermodynamics import air_density
from ldas.operators.direct import DirectOperator
from tests.support import shared

STEP_S = 1800
FIRST_RECORD = np.datetime64("1986-01-01T00")
TIMING = {"forcing_start": FIRST_RECORD, "forcing_step_s": STEP_S}
CYCLES_START = np.datetime64("1986-06-01T00")
SODA_ERRORS = {"controls": ("LAI", "WG2"), "background": "C", "soil_moisture_error": {"WG2": 0.15}}


def hapex_forcing():
    """The whole year's records; the reference reads all radiation as direct and all precipitation as rain."""
    with netCDF4.Dataset(shared("reference/surfex/forcing_hapex.nc")) as file:
        file.set_auto_mask(False)
        read = {name: np.array(file[f"forc_{name}"][:], dtype=float)[:, None] for name in (
            "tair", "qair", "wind", "psurf", "swdown", "swdif", "lwdown", "rain", "snow", "co2")}  # fmt: skip
    return landmodel.Forcing(
        Tair=read["tair"], Qair=read["qair"], Wind=read["wind"], PSurf=read["psurf"],
        SWdown=read["swdown"] + read["swdif"], LWdown=read["lwdown"], Rainf=read["rain"], Snowf=read["snow"],
        CO2air=read["co2"],
    )  # fmt: skip


def c3_model(forcing, start):
    """The C3 crop of the reference for a run from `start`.

    SODA starts the land model anew for every window, and the land model takes ANMAX (for the life of leaves) from the
    CO2 mixing ratio of the first forcing record it sees. With the ANMAX of January mortality in June is 1 % off.
    """
    stored = json.loads(shared("reference/surfex/parameters.json").read_text())["c3"]
    given = {
        name: stored[name][0] if isinstance(stored[name], list) else stored[name]
        for name in set(OVERRIDES) - {"VEG", "ANMAX"}
        if stored.get(name) is not None
    }
    record = int((start - FIRST_RECORD) / np.timedelta64(STEP_S, "s"))
    temperature, humidity, pressure, co2 = (
        float(values[record, 0]) for values in (forcing.Tair, forcing.Qair, forcing.PSurf, forcing.CO2air)
    )
    parameters = landmodel.columns(
        ["C3"], [0], [7], [1.0], clay=0.37, sand=0.37, latitude=43.68, longitude=-0.1, overrides=given,
        reference_co2=co2 / air_density(temperature, humidity, pressure, 2.0),
    )  # fmt: skip
    return landmodel.Isba(parameters)


def stored_state(model):
    """End of 1986-05-31 from the daily file."""
    with netCDF4.Dataset(shared("reference/surfex/hapex_c3_daily.nc")) as file:
        file.set_auto_mask(False)
        day = int(np.argmin(np.abs(file["time"][:] - 151 * 86400.0)))

        def at(*names):
            values = [np.nan_to_num(np.asarray(file[name][day], dtype=float)) for name in names]
            return values[0][None] if len(values) == 1 else np.array([values])

        return landmodel.cold_start(model.parameters)._replace(
            soil_temperature=at("tg_end"),
            soil_water=at("wg_end"),
            soil_ice=at("wgi_end"),
            intercepted_water=at("wr_end"),
            leaf_area_index=at("lai_end"),
            biomass=at("biomass_leaf_end", "biomass_struct_active_end", "biomass_struct_passive_end"),
            respired_biomass=at("resp_struct_active_acc", "resp_struct_passive_acc"),
            daily_net_assimilation=at("anday"),
            maximum_leaf_assimilation=at("anfm"),
            net_assimilation=at("an"),
            latent_heat_flux=at("le_end"),
            aerodynamic_resistance=at("resa_end"),
        )


def soda_types():
    return [
        ObservationType("ssm", DirectOperator.surface_soil_moisture([0]), ObservationError("dynamic_range", 0.4)),
        ObservationType("lai", DirectOperator.leaf_area_index([0]), ObservationError("relative", 0.2)),
    ]


def run_to_hour(forcing, hour):
    """The stored state of 00 UTC, run freely to the hour of the first window."""
    model = c3_model(forcing, CYCLES_START)
    state = stored_state(model)
    if hour == 0:
        return state
    first = int((CYCLES_START - FIRST_RECORD) / np.timedelta64(STEP_S, "s"))
    part = landmodel.Forcing(*(values[first : first + 2 * hour + 1] for values in forcing))
    state, _ = model.run(state, part, start=CYCLES_START, step_s=STEP_S, steps=2 * hour, forcing_step_s=STEP_S)
    return state


@pytest.mark.slow
@pytest.mark.parametrize("hour", [0, 9])
def test_twelve_free_cycles_follow_soda(hour):
    """Asked for: 0.1 % of the largest increment of each control. Reached: 2e-7 (rounding of the stored start state)."""
    with netCDF4.Dataset(shared(f"reference/surfex/sekf_lai_wg2_{hour:02d}utc.nc")) as file:
        file.set_auto_mask(False)
        observed = np.round(file["obs_value"][:], 8)  # as SODA read them from its text file
        expected, H = file["increment"][:, 0], file["jacobian"][:, 0]
    forcing = hapex_forcing()
    state = run_to_hour(forcing, hour)
    soda = SimplifiedEKF(SEKFConfiguration(**SODA_ERRORS, leaf_biomass="legacy"), soda_types(), [0])
    increments, jacobians = [], []
    for cycle in range(12):
        start = CYCLES_START + np.timedelta64(24 * cycle + hour, "h")
        model, window = c3_model(forcing, start), Window.cut(forcing, start, **TIMING)
        given = {"ssm": WindowObservations(observed[cycle, :1]), "lai": WindowObservations(observed[cycle, 1:])}
        # of every window, as SODA stores it; a cycle works it out only where there is something to assimilate
        jacobian = soda.window_jacobian(model, state, window)
        result = soda.cycle(model, state, window, given)
        if result.used_count[0]:
            np.testing.assert_array_equal(result.jacobian, jacobian)
        state = result.state
        increments.append(result.increment[0])
        jacobians.append(jacobian[0, :, 6].T)  # patch 7
    largest = np.abs(expected).max(axis=0)
    assert (np.abs(np.array(increments) - expected).max(axis=0) <= 1e-6 * largest).all()
    assert np.abs(np.array(jacobians) - H).max() <= 1e-5 * np.abs(H).max()


@pytest.mark.slow
def test_with_very_large_errors_the_cycles_are_the_open_loop_bit_for_bit():
    """Three cycles with nine members each, against one run of the same days."""
    forcing = hapex_forcing()
    model, state = c3_model(forcing, CYCLES_START), run_to_hour(forcing, 9)
    start, first = CYCLES_START + np.timedelta64(9, "h"), 151 * 48 + 18
    part = landmodel.Forcing(*(values[first : first + 3 * 48 + 1] for values in forcing))
    free, _ = model.run(state, part, start=start, step_s=STEP_S, forcing_step_s=STEP_S)
    types = [
        ObservationType("ssm", DirectOperator.surface_soil_moisture([0]), ObservationError("absolute", 1e20)),
        ObservationType("lai", DirectOperator.leaf_area_index([0]), ObservationError("absolute", 1e20)),
    ]
    deaf = SimplifiedEKF(SEKFConfiguration(), types, [0])
    observed = {"ssm": WindowObservations(np.array([0.1])), "lai": WindowObservations(np.array([1.0]))}
    for day in range(3):
        window = Window.cut(forcing, start + np.timedelta64(day, "D"), **TIMING)
        result = deaf.cycle(model, state, window, observed)
        assert (result.quality == 0).all()
        state = result.state
    for name, ours, theirs in zip(state._fields, state, free, strict=True):
        assert ours.tobytes() == theirs.tobytes(), name


@pytest.mark.slow
def test_jacobian_of_a_real_window_has_a_plateau_under_the_default():
    """Forward and central differences agree over two decades of perturbation sizes around the default ones.

    Measured here: differences below 2e-4 from 1e-5 to 1 times the default, 2e-3 at 10 times, curvature from 100 on.
    """
    forcing = hapex_forcing()
    model, state = c3_model(forcing, CYCLES_START), run_to_hour(forcing, 9)
    kalman = SimplifiedEKF(SEKFConfiguration(), soda_types(), [0])
    window = Window.cut(forcing, CYCLES_START + np.timedelta64(9, "h"), **TIMING)

    def jacobian(factor, central):
        return kalman.window_jacobian(model, state, window, factor=factor, central=central)[0, :, 6]

    reference = jacobian(1.0, central=True)
    scale = np.abs(reference).max(axis=1, keepdims=True)
    for factor in (0.1, 1.0, 10.0):
        assert (np.abs(jacobian(factor, central=True) - reference) / scale).max() < 1e-3
        assert (np.abs(jacobian(factor, central=False) - reference) / scale).max() < 1e-2
    for factor in (1e-9, 1e4):  # rounding, and curvature
        assert (np.abs(jacobian(factor, central=False) - reference) / scale).max() > 0.05
