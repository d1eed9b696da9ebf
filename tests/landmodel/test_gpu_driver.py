"""The driver of the card, run on a device in the host's memory: the bits of a plain run, whatever is cut where."""

from typing import Any

import numpy as np
import pytest

from ldas.landmodel import Forcing, Isba, LandModelError, Options, OutputRequest, State, cold_start
from tests.landmodel.host_device import HostDevice
from tests.landmodel.support import random_columns, random_forcing, random_state, simple_columns

Run = tuple[State, dict[str, Any]]


def assert_same(found: Run, expected: Run) -> None:
    """The bits of the state and of everything that was put out."""
    for name, mine, theirs in zip(State._fields, found[0], expected[0], strict=True):
        assert np.ascontiguousarray(mine).tobytes() == np.ascontiguousarray(theirs).tobytes(), name
    assert list(found[1]) == list(expected[1])
    for name, values in expected[1].items():
        np.testing.assert_array_equal(found[1][name], values, err_msg=name)


def case(columns: int = 5, hours: int = 50, seed: int = 3) -> tuple[Isba, State, Forcing]:
    """Columns with snow and frost; the third and the fourth share a cell, one cell has no column and no weather."""
    random = np.random.default_rng(seed)
    parameters = random_columns(random, Options(), columns)
    cell = parameters.cell.copy()
    cell[3:] -= 1
    cell[-1] += 1
    parameters = parameters._replace(cell=cell)
    state = random_state(random, parameters, Options(), "snowfall")
    forcing = random_forcing(random, "snowfall", hours + 1, columns)
    unused = np.setdiff1d(np.arange(columns), cell)
    for values in forcing:
        np.asarray(values)[:, unused] = np.nan
    return Isba(parameters), state, forcing


DAILY = OutputRequest(
    mean=("LE", "VEG", "GPP"), end=("LAI", "WG", "SWE", "Z0VEG"), instant=("TG", "RN"), instant_hour=9.0
)


def test_a_run_by_days_with_daily_outputs_has_the_bits_of_a_plain_run() -> None:
    model, state, forcing = case(hours=48)
    arguments = {"state": state, "forcing": forcing, "start": "2007-01-01T00", "output": DAILY}
    device = HostDevice()
    found = model.run(**arguments, device=device)
    assert_same(found, model.run(**arguments))
    assert device.launches == [(0, 18), (18, 30), (48, 18), (66, 30)]
    assert not device.opened


def test_members_means_of_states_and_intervals_across_days() -> None:
    model, start, forcing = case(hours=54)
    state = start.members(3)
    state.soil_water[:, 1] *= 1.02
    chosen = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0]], dtype=bool)
    request = OutputRequest(mean=("TG", "LE"), end=("RN",), interval_s=54 * 1800.0)
    arguments: dict[str, Any] = {"forcing": forcing, "start": "2007-01-01T05", "output": request, "where": chosen}
    device = HostDevice()
    found = model.run(state, **arguments, device=device)
    assert_same(found, model.run(state, **arguments))
    assert len(device.launches) == 108  # means of a state: a launch for every step


def test_chosen_steps_short_steps_and_a_forcing_in_single_precision() -> None:
    model, state, forcing = case(hours=27)
    forcing = Forcing(*(np.asarray(values, dtype=np.float32) for values in forcing))
    at = np.array([[3, -1, 0], [-1, -1, 5], [80, 1, -1], [26, 27, 81], [0, 0, -1]])
    request = OutputRequest(mean=("H",), interval_s=3 * 3600.0, at=("WG", "T2M", "LAI"), at_steps=at)
    arguments: dict[str, Any] = {"forcing": forcing, "start": "2007-01-01T00", "step_s": 1200.0, "output": request}
    where = np.array([True, True, True, True, False])
    found = model.run(state, **arguments, where=where, device=HostDevice())
    assert_same(found, model.run(state, **arguments, where=where))


def test_a_run_resumes_bit_for_bit_and_overwrites_its_state() -> None:
    model, state, forcing = case(hours=30)
    first = Forcing(*(np.asarray(values)[:8] for values in forcing))
    rest = Forcing(*(np.asarray(values)[7:] for values in forcing))
    middle, _ = model.run(state, first, "2007-01-01T00", device=HostDevice())
    resumed, _ = model.run(middle, rest, "2007-01-01T07", device=HostDevice(), overwrite_state=True)
    assert resumed is middle
    assert_same((resumed, {}), model.run(state, forcing, "2007-01-01T00"))


def test_more_columns_than_a_block_and_three_hourly_weather() -> None:
    count = 300
    model = Isba(simple_columns(["C3", "TEBD", "NO"] * (count // 3), cell=np.arange(count) // 2, fraction=0.5))
    state = cold_start(model.parameters, 280.0, 0.6, 1.0)
    forcing = random_forcing(np.random.default_rng(1), "thaw", 3, count // 2)
    arguments: dict[str, Any] = {"forcing_step_s": 10800.0, "output": OutputRequest(end=("TG",), interval_s=7200.0)}
    found = model.run(state, forcing, "2007-04-01T00", **arguments, device=HostDevice())
    assert_same(found, model.run(state, forcing, "2007-04-01T00", **arguments))


def test_nothing_to_run_and_weather_that_cannot_be() -> None:
    model, state, forcing = case(hours=30)
    nobody = np.zeros(5, dtype=bool)
    device = HostDevice()
    found = model.run(state, forcing, "2007-01-01T00", where=nobody, device=device)
    assert_same(found, model.run(state, forcing, "2007-01-01T00", where=nobody))
    assert device.launches == []
    np.asarray(forcing.Tair)[27, 1] = 12.0
    for on in ("cpu", device):
        with pytest.raises(LandModelError, match=r"Tair of record 27, cell 1: expected 150 to 360 K, got 12\.0"):
            model.run(state, forcing, "2007-01-01T00", device=on)
    assert not device.opened
