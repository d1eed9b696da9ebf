"""The functions of `ldas.landmodel.lanes` against exact arithmetic and numpy, and their two forms compared."""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from numba import njit

from ldas.landmodel import lanes
from ldas.landmodel.lanes import WIDTH
from ldas.landmodel.records import rows
from tests.landmodel.support import Array

LARGEST_ERROR = 1.5e-16
"""Largest relative error of exp and log. Measured over 80,000 points each: exp 1.48e-16 (0.97 units in the last place),
log 1.49e-16 (0.76 units); numpy's own: 0.63 and 0.54 units."""


def forms(function: Callable[..., Any], arguments: int = 1) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """The scalar and the lane form of a function, both mapping arrays of a multiple of `WIDTH` numbers."""
    if arguments == 1:

        @njit(error_model="numpy")
        def scalar_loop(x, out):
            for i in range(len(x)):
                out[i] = function(x[i])

        @njit(error_model="numpy")
        def lane_loop(x, out):
            for row in range(len(x)):
                rows(out)[row] = function(rows(x)[row])

    else:

        @njit(error_model="numpy")
        def scalar_loop(x, y, out):
            for i in range(len(x)):
                out[i] = function(x[i], y[i])

        @njit(error_model="numpy")
        def lane_loop(x, y, out):
            for row in range(len(x)):
                rows(out)[row] = function(rows(x)[row], rows(y)[row])

    def scalar(*values: Array) -> Array:
        out = np.empty(len(values[0]))
        scalar_loop(*values, out)
        return out

    def vector(*values: Array) -> Array:
        out = np.empty((len(values[0]) // WIDTH, WIDTH))
        lane_loop(*(np.ascontiguousarray(v).reshape(-1, WIDTH) for v in values), out)
        return out.ravel()

    return scalar, vector


def exact(function: Callable[[Decimal], Decimal], values: Array) -> list[Decimal]:
    with localcontext() as context:
        context.prec = 40
        return [function(Decimal(float(value))) for value in values]


def largest_relative_error(computed: Array, truth: list[Decimal]) -> float:
    with localcontext() as context:
        context.prec = 40
        return float(max(abs(Decimal(float(c)) / t - 1) for c, t in zip(computed, truth, strict=True) if t != 0))


RANDOM = np.random.default_rng(1)
EXPONENTS = np.concatenate([
    RANDOM.uniform(-700.0, 700.0, 1500), RANDOM.uniform(-1.0, 1.0, 1500), RANDOM.uniform(-40.0, 3.0, 984),
    np.array([0.0, -0.0, 1.0, -1.0, 0.5 * math.log(2.0), -0.5 * math.log(2.0), 708.0, -708.0]), np.zeros(8),
])  # fmt: skip
POSITIVE = np.concatenate([
    10.0 ** RANDOM.uniform(-300.0, 300.0, 1500), RANDOM.uniform(0.5, 2.0, 1500), 1.0 + RANDOM.uniform(-1e-6, 1e-6, 988),
    np.array([1.0, math.sqrt(2.0), math.sqrt(0.5), 2.0, 0.5, 1e-300, 273.16, 1.0 + 2.0**-52, 1.0 - 2.0**-53, 10.0,
              1.0e5, 0.45]),
])  # fmt: skip


def test_exp_is_exact_to_its_stated_bound() -> None:
    scalar, vector = forms(lanes.exp)
    computed = scalar(EXPONENTS)
    error = largest_relative_error(computed, exact(Decimal.exp, EXPONENTS))
    assert error <= LARGEST_ERROR
    assert computed[EXPONENTS == 0.0].tolist() == [1.0] * int((EXPONENTS == 0.0).sum())
    np.testing.assert_array_max_ulp(computed, np.exp(EXPONENTS), maxulp=1)
    assert computed.tobytes() == vector(EXPONENTS).tobytes()


def test_log_is_exact_to_its_stated_bound() -> None:
    scalar, vector = forms(lanes.log)
    computed = scalar(POSITIVE)
    error = largest_relative_error(computed, exact(Decimal.ln, POSITIVE))
    assert error <= LARGEST_ERROR
    assert scalar(np.ones(WIDTH)).tolist() == [0.0] * WIDTH
    np.testing.assert_array_max_ulp(computed, np.log(POSITIVE), maxulp=1)
    assert computed.tobytes() == vector(POSITIVE).tobytes()


def test_exp_is_limited_to_normal_numbers() -> None:
    scalar, vector = forms(lanes.exp)
    extremes = np.array([-1e308, -np.inf, -750.0, -709.0, 709.5, 1e5, 1e308, np.inf])
    ends = np.array([np.exp(-708.0)] * 4 + [np.exp(709.0)] * 4)
    np.testing.assert_allclose(scalar(extremes), ends, rtol=1e-15)
    assert scalar(extremes).tobytes() == vector(extremes).tobytes()


@pytest.mark.parametrize(
    ("function", "reference", "values", "ulps"),
    [
        (lanes.sqrt, np.sqrt, np.abs(POSITIVE), 0),
        (lanes.absolute, np.abs, EXPONENTS, 0),
        (lanes.arccos, np.arccos, np.clip(EXPONENTS, -1.0, 1.0), 1),
    ],
    ids=["sqrt", "absolute", "arccos"],
)
def test_unary_functions_agree_with_numpy(function: Any, reference: Any, values: Array, ulps: int) -> None:
    scalar, vector = forms(function)
    if ulps == 0:
        assert scalar(values).tobytes() == reference(values).tobytes()
    else:
        np.testing.assert_array_max_ulp(scalar(values), reference(values), maxulp=ulps)
    assert scalar(values).tobytes() == vector(values).tobytes()


def _sine_squared_quarter(x: Decimal) -> Decimal:
    """sin^2(pi x/2) by its series in the context's precision."""
    y = Decimal("3.14159265358979323846264338327950288419716939937510") * x / 2
    term = sine = y
    order = 1
    while abs(term) > Decimal(10) ** -38:
        term = -term * y * y / ((order + 1) * (order + 2))
        sine += term
        order += 2
    return sine * sine


def test_half_cosine_rise() -> None:
    scalar, vector = forms(lanes.half_cosine_rise)
    x = np.concatenate(
        [RANDOM.uniform(-0.1, 1.0, 1000 - WIDTH), np.array([0.0, 1.0, 0.5, -0.1, 0.25, 0.75, 1e-9, 1e-3])]
    )
    truth = exact(_sine_squared_quarter, x)
    assert largest_relative_error(scalar(x), truth) <= 7.5e-16  # measured over 8,800 points: 7.1e-16
    assert scalar(np.zeros(WIDTH)).tolist() == [0.0] * WIDTH
    assert scalar(x).tobytes() == vector(x).tobytes()


@pytest.mark.parametrize(
    ("function", "reference"), [(lanes.minimum, np.minimum), (lanes.maximum, np.maximum)], ids=["minimum", "maximum"]
)
def test_binary_functions_agree_with_numpy(function: Any, reference: Any) -> None:
    scalar, vector = forms(function, 2)
    x, y = RANDOM.normal(size=800), RANDOM.normal(size=800)
    y[::10] = x[::10]
    assert scalar(x, y).tobytes() == reference(x, y).tobytes()
    assert scalar(x, y).tobytes() == vector(x, y).tobytes()


def test_where_operators_and_logic_agree_with_numpy() -> None:
    @njit(error_model="numpy")
    def formula(x, y):
        inside = (x > 0.0) & ~(y >= 0.5) | (x == y)
        a = lanes.where(inside, x * 2.0 - y, 3.0)
        a += lanes.where(x < y, 1.0, -x / (1.0 + y * y))
        return lanes.where((x != y) & (x <= 1.0), -a, a - 1)

    scalar, vector = forms(formula, 2)
    x, y = RANDOM.normal(size=800), RANDOM.normal(size=800)
    y[::10] = x[::10]
    inside = (x > 0.0) & ~(y >= 0.5) | (x == y)
    # products are rounded before they are added here: exact products make the comparison free of the compiler's choice
    x, y = np.round(x * 64.0) / 64.0, np.round(y * 64.0) / 64.0
    inside = (x > 0.0) & ~(y >= 0.5) | (x == y)
    a = np.where(inside, x * 2.0 - y, 3.0) + np.where(x < y, 1.0, -x / (1.0 + y * y))
    truth = np.where((x != y) & (x <= 1.0), -a, a - 1)
    np.testing.assert_array_equal(scalar(x, y), truth)
    assert scalar(x, y).tobytes() == vector(x, y).tobytes()


def test_nan_stays_in_its_lane() -> None:
    @njit(error_model="numpy")
    def formula(x):
        return lanes.maximum(lanes.sqrt(x), 1.0) + lanes.where(x < 4.0, x, 2.0 * x)

    _, vector = forms(formula)
    x = np.arange(1.0, 1.0 + WIDTH)
    clean = vector(x)
    x[3] = np.nan
    spoilt = vector(x)
    assert np.isnan(spoilt[3])
    assert np.delete(spoilt, 3).tobytes() == np.delete(clean, 3).tobytes()


def test_any_lane() -> None:
    @njit
    def any_positive(x):
        return lanes.any_lane(rows(x)[0] > 0.0)

    @njit
    def scalar_positive(x):
        return lanes.any_lane(x > 0.0)

    assert not any_positive(np.zeros(WIDTH))
    for lane in range(WIDTH):
        x = np.zeros(WIDTH)
        x[lane] = 1e-300
        assert any_positive(x)
    assert not any_positive(np.full(WIDTH, np.nan))
    assert scalar_positive(1.0)
    assert not scalar_positive(-1.0)


def test_numbers_are_spread_over_lanes_and_rows() -> None:
    @njit
    def fill(out, value):
        rows(out)[1] = value
        rows(out)[2] = rows(out)[1] + 1

    out = np.zeros((4, WIDTH))
    fill(out, 2.5)
    np.testing.assert_array_equal(out, np.array([0.0, 2.5, 3.5, 0.0])[:, None] * np.ones(WIDTH))


def test_products_and_sums_follow_one_rule_in_both_forms() -> None:
    """A long expression is bit for bit the same for floats and lanes: the compiler may not reorder or fuse one of them
    differently."""

    @njit(error_model="numpy")
    def formula(x, y):
        total = x * 0.0
        for i in range(20):
            total = total + lanes.exp(-0.1 * i * x) * y / (1.0 + i * y * y) - lanes.log(1.0 + x * x) * 0.3
        return total

    scalar, vector = forms(formula, 2)
    x, y = RANDOM.uniform(0.0, 5.0, 800), RANDOM.uniform(0.0, 5.0, 800)
    assert scalar(x, y).tobytes() == vector(x, y).tobytes()
