"""What is put out after chosen steps of each column: that of the same run, in the order that was asked for."""

import numpy as np
import pytest

from ldas.landmodel import Isba, LandModelError, OutputRequest, cold_start
from tests.landmodel.support import constant_forcing, simple_columns

STEPS = np.array([[3, -1, 0, 7], [-1, -1, 5, 5], [8, 1, -1, 2]])  # of 8


def test_states_after_chosen_steps_are_those_of_every_step() -> None:
    parameters = simple_columns(("C3", "GRAS", "TEBD"))
    rain = np.zeros((5, 3))
    rain[2:] = 2e-4
    forcing = constant_forcing(5, 3, SWdown=np.linspace(0, 400, 15).reshape(5, 3), Rainf=rain)
    start = cold_start(parameters).members(2)
    start.soil_water[:, 1] *= 1.05
    model = Isba(parameters)
    fluxes = ("LE", "T2M", "VEG")
    every = OutputRequest(end=("WG", "TG", "LAI", *fluxes), interval_s=1800.0)
    plain, of_steps = model.run(start, forcing, "2007-06-01T00", output=every)
    asked = OutputRequest(mean=("LE",), interval_s=14400.0, at=("LAI", "WG", "T2M", "TG", "LE", "VEG"), at_steps=STEPS)
    after, found = model.run(start, forcing, "2007-06-01T00", output=asked)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(after, plain, strict=True))
    initial = {"WG": start.soil_water, "TG": start.soil_temperature, "LAI": start.leaf_area_index}
    defined = {name: np.isfinite(of_steps[name][0]) for name in initial}
    for place, column in np.ndindex(4, 3):
        step = STEPS[column, place]
        for name, first in initial.items():
            values = found[f"{name}_at"][place, column]
            at_start = np.where(defined[name][column], first[column], np.nan)
            expected = at_start if step == 0 else of_steps[name][step - 1, column]
            np.testing.assert_array_equal(values, np.full_like(values, np.nan) if step < 0 else expected)
        for name in fluxes:  # of a step: there is none before the first
            expected = of_steps[name][step - 1, column] if step > 0 else np.full(2, np.nan)
            np.testing.assert_array_equal(found[f"{name}_at"][place, column], expected)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"at": ("T2",), "at_steps": STEPS}, "'T2' is not known; did you mean T2M"),
        ({"at": ("WG",)}, r"at_steps of shape \(3 columns, place\)"),
        ({"at_steps": STEPS}, "expected names"),
        ({"at": ("WG",), "at_steps": STEPS + 1}, "-1 to 8, got 0 to 9"),
    ],
)
def test_requests_that_cannot_be_meant(request_: dict[str, object], words: str) -> None:
    model = Isba(simple_columns(("C3", "GRAS", "TEBD")))
    with pytest.raises(LandModelError, match=words):
        model.run(
            cold_start(model.parameters),
            constant_forcing(5, 3),
            "2007-06-01T00",
            output=OutputRequest(interval_s=14400.0, **request_),  # type: ignore[arg-type]
        )
