"""Bias and error scales: against an augmented Kalman filter, closed forms, and synthetic innovations."""

import dataclasses

import numpy as np
import pytest

from ldas.assim import Quality, SEKFConfiguration, Window, WindowObservations
from ldas.assim import testing as toy
from ldas.assim.aware_cycle import aware_cycle
from ldas.assim.ensrf_cycle import EnSRFConfiguration
from ldas.assim.error_estimation import (
    AdaptiveErrors,
    BiasOptions,
    Bounded,
    Departures,
    Memory,
    bias_change,
    estimates,
    no_memory,
    remembered,
    with_change,
)
from ldas.assim.errors import FilterConfigurationError
from ldas.landmodel import cold_start
from tests.assim.cycles import lai_type, sigma_type, ssm_type, three_cells
from tests.assim.test_overpasses import after as hours
from tests.assim.test_overpasses import inputs


def memory_of(**values: float) -> Memory:
    """A memory of the three cells and two types that has seen as much as its sums say."""
    return no_memory(3, 2)._replace(**{name: np.full((3, 2), value) for name, value in values.items()})


def prepared(d2: float, r: float, b: float, persistent: float = 0.0, **more: float) -> Memory:
    """One whose innovations have variance d2 in shares of R = r and H B H^T = b, as prescribed."""
    share = r / (r + b)
    sums = {"of_observation": share * d2, "of_background": (1.0 - share) * d2, "prescribed_r": r, "prescribed_b": b}
    return memory_of(weight=1.0, innovation=d2, persistent=persistent * d2, **sums, **more)


def test_one_cycle_is_the_step_of_a_filter_whose_state_has_the_biases_too():
    """Linear model, two types observed directly: K of [x, b_lai, b_ssm] by hand, with scaled R and B."""
    parameters, state, forcing = three_cells()
    options = SEKFConfiguration(controls=("LAI", "WG2"), background="B")
    types = [lai_type(error=toy.ObservationError("absolute", 0.3)), ssm_type()]
    method, window = options.make(types, [0, 1, 2]), Window.cut(forcing, toy.START)
    observed = toy.observed(lai=[2.2, 3.0, np.nan], ssm=[0.25, 0.31, 0.22])
    before = prepared(0.02, 0.008, 0.004, persistent=0.5, gain=0.2, lasting=0.02, passing=0.01, limit=1.0)
    bias, errors = BiasOptions(), AdaptiveErrors(ratio_bounds=(0.5, 4.0))
    result, after, used = aware_cycle(
        method, before, bias, errors, toy.LinearModel(parameters), state, window, observed
    )
    plain = method.cycle(toy.LinearModel(parameters), state, window, observed)
    variance = used.bias_variance
    assert (variance > 0.0).all()
    assert not np.allclose(used.r_scale, used.b_scale[:, None])
    given = np.array([0.3, 0.05]) ** 2
    for cell in range(3):
        there = np.isfinite([observed["lai"].value[cell], observed["ssm"].value[cell]])
        assert plain.jacobian is not None
        H = plain.jacobian[cell][there].reshape(there.sum(), -1)
        controls = method.controls_of(parameters)
        B = used.b_scale[cell] * method._background_variance(controls, plain.forecast)[cell].ravel()
        augmented = np.hstack([H, np.eye(2)[there]])
        covariance = np.diag(np.concatenate([B, variance[cell]]))
        S = augmented @ covariance @ augmented.T + np.diag((used.r_scale[cell] * given)[there])
        innovation = plain.innovation[cell][there] - used.bias[cell][there]
        step = covariance @ augmented.T @ np.linalg.solve(S, innovation)
        increment = controls.to_cells(result.increment)[cell].ravel()
        np.testing.assert_allclose(increment, step[:-2], rtol=1e-9, atol=1e-14)
        b = after.lasting[cell] + after.passing[cell]
        expected = before.lasting[cell] + bias.carry_over * before.passing[cell] + step[-2:]
        np.testing.assert_allclose(b, expected, rtol=1e-9)
        assert result.chi_square[cell] == pytest.approx(innovation @ np.linalg.solve(S, innovation), rel=1e-9)
        np.testing.assert_allclose(
            (result.observation_variance + result.background_variance)[cell][there], np.diag(S), rtol=1e-9
        )


def test_overpasses_share_one_bias():
    """n equal observations of one type are one observation with R / n."""
    residuals, R = np.array([[0.4, 0.2, 9.9]]), np.full((1, 3), 0.3)
    used = np.array([[True, True, False]])
    alone = bias_change(np.array([0.1]), np.array([[0.3]]), np.array([[0.15]]), np.array([[True]]))
    np.testing.assert_allclose(bias_change(np.array([0.1]), residuals, R, used), alone, rtol=1e-14)
    assert alone[0] == pytest.approx(0.1 / 0.25 * 0.3, rel=1e-14)

    model, window = inputs()
    method = SEKFConfiguration(controls=("LAI", "WG2")).make([sigma_type([0, 1])], [0, 1])
    values = np.array([[-10.0, -9.0], [-11.0, np.nan]])
    given = {"sigma40": WindowObservations(values, time=np.stack([hours([11.6, 24.0]), hours([23.9, np.nan])]))}
    whole = memory_of(weight=1.0, innovation=0.2, gain=0.25, lasting=0.1, limit=1.0)
    before = Memory(*(part[:2, :1] for part in whole))
    start = cold_start(model.parameters, leaf_area_index=2.0)
    result, after, now = aware_cycle(method, before, BiasOptions(), None, model, start, window, given)
    np.testing.assert_allclose(now.bias_variance, 0.05, rtol=1e-14)
    np.testing.assert_allclose(result.observation[0], [-10.1, -9.1], rtol=1e-14)
    np.testing.assert_allclose(result.observation_variance[0], 0.33**2 + 2 * 0.05, rtol=1e-12)
    assert result.observation_variance[1, 0] == pytest.approx(0.33**2 + 0.05, rel=1e-12)
    S = result.observation_variance + result.background_variance
    kept = np.exp(-1.0 / AdaptiveErrors().memory)
    assert after.weight[0, 0] == pytest.approx((kept + 1.0 / S[0, 0]) * kept + 1.0 / S[0, 1], rel=1e-12)
    assert after.weight[1, 0] == pytest.approx(kept + 1.0 / S[1, 0], rel=1e-12)


def innovations(
    numbers: int, steps: int, *, r: float, b: float, bias: np.ndarray | float = 0.0, colour: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """y - Y of a scalar state that follows its analysis, (step, cell): variances r and b, a bias (step,), and errors of
    which `colour` passes from one to the next; and H B H^T as prescribed, which varies from step to step around 1."""
    random = np.random.default_rng(7)
    h = np.where(np.arange(steps) % 2, 0.5, 1.5)
    error = np.sqrt(r) * random.standard_normal((steps, numbers))
    for step in range(1, steps):
        error[step] = colour * error[step - 1] + np.sqrt(1.0 - colour**2) * error[step]
    return error + np.sqrt(b * h)[:, None] * random.standard_normal((steps, numbers)) + np.reshape(bias, (-1, 1)), h


def filtered(
    departures: np.ndarray,
    h: np.ndarray,
    bias: BiasOptions | None,
    errors: AdaptiveErrors | None,
    open_loop: np.ndarray | None = None,
) -> tuple[Memory, list]:
    """What a filter that takes R = 1 and H B H^T = h remembers of departures y - Y (step, cell), judged by those of the
    open loop if there are any; and the estimates and innovations of each step."""
    memory, steps = no_memory(departures.shape[1], 1), []
    used, R = np.ones((departures.shape[1], 1), dtype=bool), np.ones((departures.shape[1], 1))
    judging = np.full(departures.shape, np.nan) if open_loop is None else open_loop
    for departure, background, judge in zip(departures[:, :, None], h, judging[:, :, None], strict=True):
        now = estimates(memory, bias, errors, open_loop is not None)
        d, variance = departure - now.bias, now.bias_variance
        b, scaled = now.b_scale[:, None] * background, now.r_scale * R
        S = scaled + variance + b
        change = bias_change(variance[:, 0], (scaled + variance) / S * d, scaled, used)[:, None]
        left = (scaled + variance) / S * d - change
        seen = Departures(d, left, R, np.full_like(R, background), S, used, now.passing, judge)
        memory = remembered(memory, seen, bias or BiasOptions(), errors or AdaptiveErrors())
        if bias is not None:
            memory = with_change(memory, now, change, bias, bias.limit * np.sqrt(R), judge)
        steps.append((now, d, S))
    return memory, steps


@pytest.mark.parametrize(("true_r", "true_b"), [(0.5, 1.0), (2.0, 1.0), (1.0, 3.0), (0.7, 0.4)])
def test_scales_of_known_errors(true_r: float, true_b: float) -> None:
    """Prescribed R = 1 and H B H^T = h, true ones by a factor; the mean square is met whatever the ratio."""
    departures, h = innovations(200, 360, r=true_r, b=true_b)
    _, steps = filtered(departures, h, None, AdaptiveErrors())
    now = steps[-1][0]
    np.testing.assert_allclose(now.r_scale[:, 0], now.b_scale, rtol=1e-14)
    chi_square = np.mean([d**2 / S for _, d, S in steps[180:]])
    assert chi_square == pytest.approx(1.0, abs=0.03)
    # Weights 1 / S with S = 1 + h: of <d d> / <R + H B H^T>
    weights = 1.0 / (1.0 + np.array([0.5, 1.5]))
    expected = (weights * (true_r + true_b * np.array([0.5, 1.5]))).sum() / (
        weights * (1.0 + np.array([0.5, 1.5]))
    ).sum()
    assert now.b_scale.mean() == pytest.approx(expected, rel=0.03)
    assert not now.bounded.any()


def test_the_estimates_of_desroziers_are_a_fixed_point_of_the_true_errors() -> None:
    """<a d> = R and <(d - a) d> = H B H^T where the filter has the right ones: the ratio stays 1."""
    departures, h = innovations(200, 360, r=1.0, b=1.0)
    memory, steps = filtered(departures, h, None, AdaptiveErrors(ratio_bounds=(0.2, 5.0)))
    now = steps[-1][0]
    assert np.median(now.b_scale / now.r_scale[:, 0]) == pytest.approx(1.0, abs=0.05)
    assert (memory.of_observation / memory.prescribed_r).mean() == pytest.approx(1.0, abs=0.03)
    assert (memory.of_background / memory.prescribed_b).mean() == pytest.approx(1.0, abs=0.03)


def test_a_ratio_of_closed_form() -> None:
    """d of variance v against R = r and H B H^T = b: a d = r v / (r + b); what is missing goes by the bounds' ratio."""
    memory = prepared(3.0, 1.0, 0.5)
    now = estimates(memory, None, AdaptiveErrors())
    np.testing.assert_allclose(now.r_scale, 2.0, rtol=1e-14)
    np.testing.assert_allclose(now.b_scale, 2.0, rtol=1e-14)
    memory = memory._replace(of_observation=np.full((3, 2), 1.0), of_background=np.full((3, 2), 2.0))
    now = estimates(memory, None, AdaptiveErrors(ratio_bounds=(0.1, 3.0)))  # 4 is the estimate
    np.testing.assert_allclose(now.b_scale / now.r_scale[:, 0], 3.0, rtol=1e-14)
    np.testing.assert_allclose(now.r_scale + 0.5 * now.b_scale[:, None], 3.0, rtol=1e-14)


def test_a_constant_bias_is_found_and_white_innovations_leave_none() -> None:
    steps, bias = 360, BiasOptions(memory=30.0)
    departures, h = innovations(100, steps, r=1.0, b=1.0, bias=np.where(np.arange(steps) >= 60, 2.0, 0.0))
    memory, seen = filtered(departures, h, bias, AdaptiveErrors())
    assert np.abs(np.median(memory.lasting) - 2.0) < 0.25
    assert np.median(seen[110][0].bias) > 1.6  # after 50 observations
    assert np.median(np.abs(seen[59][0].bias)) < 0.1
    without, _ = filtered(departures[:60], h[:60], bias, AdaptiveErrors())
    assert np.sqrt((without.lasting**2).mean()) < 0.05


def test_the_bias_by_departures_of_the_open_loop_in_closed_form() -> None:
    """l = n (1 - (p v / n n)^2) beyond n n = p v, and g u; no part in the analysis, whatever innovations show."""
    bias = BiasOptions(lasting_threshold=0.25, limit=3.0)
    chance = {"departures": 10.0, "squares": 6.4, "foretold": 0.3, "foretelling": 0.6, "passing": 0.1}
    before = prepared(0.3, 0.1, 0.02, persistent=0.6, gain=0.3, lasting=9.0, limit=3.0, **chance)
    n = np.array([[0.8, -0.8], [0.4, 0.41], [3.5, -4.0]])
    now = estimates(before._replace(departure=n), bias, None, [True, True])
    shrunk = n * np.where(n**2 > 0.16, 1.0 - (0.16 / n**2) ** 2, 0.0)
    np.testing.assert_allclose(now.bias, np.clip(shrunk + 0.5 * 0.1, -3.0, 3.0), rtol=1e-14)
    assert (now.bounded == [[0, 0], [0, 0], [Bounded.BIAS, Bounded.BIAS]]).all()
    assert not now.bias_variance.any()
    mixed = estimates(before._replace(departure=n), bias, None, [True, False])
    np.testing.assert_array_equal(mixed.bias[:, 0], now.bias[:, 0])
    assert (mixed.bias[:, 1] == 3.0).all()
    assert (mixed.bias_variance[:, 1] > 0.0).all()
    without = dataclasses.replace(bias, passing_threshold=1.0)
    found = estimates(before._replace(departure=n), without, None, [True, True])
    np.testing.assert_allclose(found.bias, np.clip(shrunk, -3.0, 3.0), rtol=1e-14)


def test_departures_of_the_open_loop_are_remembered_as_they_fade() -> None:
    """n, v and g by sums written out; an observation without departure, or one that is not used, counts for none."""
    bias, one = BiasOptions(memory=20.0), np.ones((1, 1))
    random = np.random.default_rng(3)
    departures, innovation = random.standard_normal((2, 40))
    departures[7] = np.nan
    memory, n, u, count, squares, top, bottom = no_memory(1, 1), 0.0, 0.0, 0.0, 0.0, 0.0, 0.25 * 20.0
    for step, (r, d) in enumerate(zip(departures, innovation, strict=True)):
        used = step != 11
        now = estimates(memory, bias, None, [True])
        foretold = max(top / bottom, 0.0) * u
        assert now.passing[0, 0] == pytest.approx(foretold, rel=1e-10, abs=1e-15)
        seen = Departures(d * one, 0.5 * d * one, one, one, 2.0 * one, np.full((1, 1), used), now.passing, r * one)
        memory = remembered(memory, seen, bias, AdaptiveErrors())
        memory = with_change(memory, now, 0.0 * one, bias, 5.0 * one, (r if used else np.nan) * one)
        if used:
            top, bottom = (np.exp(-1 / 20) * x + y for x, y in ((top, (d + foretold) * u), (bottom, u * u)))
        if used and np.isfinite(r):
            count, squares = np.exp(-1 / 20) * count + 1.0, np.exp(-1 / 20) * squares + (r - n) ** 2
            n += (r - n) / 20
            u = r - n
        else:
            u *= bias.carry_over
    for name, expected in {"departure": n, "departures": count, "squares": squares, "passing": u}.items():
        assert getattr(memory, name)[0, 0] == pytest.approx(expected, rel=1e-12), name


def test_departures_of_the_open_loop_tell_a_bias_from_an_error_of_the_analysis() -> None:
    """Innovations of mean 2 both times: where the open loop has no departure it is left to the filter, else found."""
    steps = 360
    departures, h = innovations(100, steps, r=1.0, b=1.0, bias=np.where(np.arange(steps) >= 60, 2.0, 0.0))
    noise = innovations(100, steps, r=1.0, b=1.0)[0][:, ::-1]
    _, left = filtered(departures, h, BiasOptions(), AdaptiveErrors(), noise)
    assert np.sqrt(np.mean([now.bias**2 for now, _, _ in left[100:]])) < 0.2
    step = np.where(np.arange(steps) >= 60, 2.0, 0.0)[:, None]
    _, found = filtered(departures, h, BiasOptions(), AdaptiveErrors(), noise + step)
    assert np.median(found[150][0].bias) > 1.5
    assert np.median(found[-1][0].bias) == pytest.approx(2.0, abs=0.2)


def test_what_departures_of_the_open_loop_foretell_is_taken_from_innovations() -> None:
    """Errors of the observation that last for days are in both; those of the open loop alone have no part."""
    random, steps = np.random.default_rng(11), 900
    error = innovations(60, steps, r=1.0, b=1e-9, colour=0.5)[0]
    d, h = error + 0.5 * random.standard_normal(error.shape), np.full(steps, 0.25)
    _, seen = filtered(d, h, BiasOptions(), AdaptiveErrors(), error + 0.5 * random.standard_normal(error.shape))
    whiter = np.array([d[:, 0] for _, d, _ in seen])[300:]
    before, after = (np.mean(x[1:] * x[:-1]) / np.mean(x**2) for x in (d[300:], whiter))
    assert before > 0.35
    assert abs(after) < 0.12
    assert np.mean(whiter**2) < 0.9 * np.mean(d[300:] ** 2)
    alone = innovations(60, steps, r=1.0, b=1e-9, colour=0.7)[0]
    white = random.standard_normal(error.shape)
    _, seen = filtered(white, h, BiasOptions(lasting_threshold=0.9), AdaptiveErrors(), alone)
    assert np.sqrt(np.mean([now.bias**2 for now, _, _ in seen[300:]])) < 0.15


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_a_bias_by_the_open_loop_is_taken_from_observations_before_the_analysis(rho: float) -> None:
    """As if y - b had been given; so also where errors are correlated."""
    parameters, state, forcing = three_cells()
    kinds = [sigma_type(error_correlation={"ssm": rho} if rho else {}), ssm_type()]
    method = SEKFConfiguration(controls=("LAI", "WG2")).make(kinds, [0, 1, 2])
    window = Window.cut(forcing, toy.START)
    observed = toy.observed(sigma40=[-11.0, -10.0, np.nan], ssm=[0.25, 0.31, 0.22])
    judged = {name: item._replace(open_loop_departure=np.array([0.3, -0.2, 0.1])) for name, item in observed.items()}
    before = memory_of(
        departures=5.0, squares=0.1, departure=0.5, passing=0.1, foretold=0.2, foretelling=1.0, limit=9.0
    )
    result, after, now = aware_cycle(
        method, before, BiasOptions(), None, toy.LinearModel(parameters), state, window, judged
    )
    assert (now.bias > 0.4).all()
    given = {
        name: item._replace(value=item.value - now.bias[:, place])
        for place, (name, item) in enumerate(observed.items())
    }
    plain = method.cycle(toy.LinearModel(parameters), state, window, given)
    np.testing.assert_allclose(result.increment, plain.increment, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(result.chi_square, plain.chi_square, rtol=1e-9)
    np.testing.assert_allclose(after.departure[:2, 0], 0.5 + (np.array([0.3, -0.2]) - 0.5) / 60.0, rtol=1e-14)
    assert after.departure[2, 0] == 0.5
    np.testing.assert_allclose(after.passing[2, 0], 0.05, rtol=1e-14)


def test_a_drift_is_followed() -> None:
    steps = 600
    drift = np.linspace(0.0, 4.0, steps)
    departures, h = innovations(100, steps, r=1.0, b=0.5, bias=drift)
    _, seen = filtered(departures, h, BiasOptions(memory=30.0), AdaptiveErrors())
    errors = [np.median(now.bias) - drift[step] for step, (now, _, _) in enumerate(seen)]
    assert np.abs(errors[200:]).max() < 0.8
    assert np.mean(errors[200:]) < 0.0  # it lags


def test_successive_innovations_become_whiter_and_white_ones_stay() -> None:
    departures, h = innovations(60, 900, r=1.0, b=0.5, colour=0.6)
    _, seen = filtered(departures, h, BiasOptions(lasting_threshold=0.9), AdaptiveErrors())
    d = np.array([d[:, 0] for _, d, _ in seen])[500:]
    before, after = (np.mean(x[1:] * x[:-1]) / np.mean(x**2) for x in (departures[500:], d))
    assert before > 0.35
    assert after == pytest.approx(BiasOptions().passing_threshold, abs=0.05)


def test_a_threshold_of_one_leaves_out_the_passing_part() -> None:
    """The filter's own gain is kept, whatever its innovations remember, until a bias lasts."""
    departures, h = innovations(20, 300, r=1.0, b=0.5, colour=0.6)
    options = BiasOptions(passing_threshold=1.0, lasting_threshold=0.9)
    memory, seen = filtered(departures, h, options, AdaptiveErrors())
    assert all((now.bias == 0.0).all() and (now.bias_variance == 0.0).all() for now, _, _ in seen)
    np.testing.assert_allclose(seen[-1][0].r_scale[:, 0], seen[-1][0].b_scale, rtol=1e-14)
    assert not memory.passing.any()


def test_a_bias_that_runs_away_is_bounded_and_coded() -> None:
    steps = 300
    departures, h = innovations(50, steps, r=1.0, b=0.5, bias=np.linspace(0.0, 30.0, steps))
    memory, seen = filtered(
        departures, h, BiasOptions(limit=3.0), AdaptiveErrors(r_bounds=(0.5, 2.0), b_bounds=(0.5, 2.0))
    )
    assert memory.lasting.max() == 3.0
    now = estimates(memory, BiasOptions(limit=3.0), AdaptiveErrors(r_bounds=(0.5, 2.0), b_bounds=(0.5, 2.0)))
    assert (now.bounded == Bounded.BIAS | Bounded.R_SCALE | Bounded.B_SCALE).all()
    assert (now.b_scale == 2.0).all()
    assert seen[0][0].bounded.sum() == 0
    assert np.isfinite(np.array(memory)).all()


def test_the_limit_is_of_the_whole_bias() -> None:
    """What the lasting part may not take does not go into the passing one."""
    options = BiasOptions(limit=3.0)
    now = estimates(memory_of(innovation=1.0, weight=1.0, lasting=2.5, passing=2.0, limit=3.0), options, None)
    np.testing.assert_array_equal(now.bias, 3.0)
    np.testing.assert_array_equal(now.bounded, Bounded.BIAS)
    changed = with_change(memory_of(passing=2.9), now._replace(passing_variance=np.ones((3, 2))), *(
        np.full((3, 2), 9.0), options, np.full((3, 2), 3.0)
    ))  # fmt: skip
    np.testing.assert_array_equal(changed.passing, 3.0)


def test_a_factor_that_is_fixed_is_not_at_a_bound() -> None:
    errors = AdaptiveErrors(r_bounds=(1.0, 1.0), b_bounds=(1.0, 4.0))
    assert not estimates(no_memory(3, 2), None, errors).bounded.any()
    now = estimates(prepared(0.5, 1.0, 0.5), None, errors)
    np.testing.assert_array_equal(now.r_scale, 1.0)
    np.testing.assert_array_equal(now.bounded, Bounded.B_SCALE)


def test_range_and_relative_error_are_of_the_observation_as_it_came() -> None:
    """A LAI of 0.1 with a bias of 0.2 is neither out of range nor without error."""
    parameters, state, forcing = three_cells()
    options = SEKFConfiguration(controls=("LAI", "WG2"))
    kind = dataclasses.replace(lai_type(error=toy.ObservationError("relative", 0.2)), valid_range=(0.0, 20.0))
    observed = toy.observed(lai=[0.1, 0.1, 20.1])
    before = Memory(*(part[:, :1] for part in memory_of(weight=1.0, innovation=0.1, lasting=0.2, limit=1.0)))
    result, _, now = aware_cycle(
        options.make([kind], [0, 1, 2]), before, BiasOptions(), None, toy.LinearModel(parameters), state,
        Window.cut(forcing, toy.START), observed,
    )  # fmt: skip
    np.testing.assert_array_equal(now.bias_variance, 0.0)
    assert result.quality[:, 0].tolist() == [Quality.USED, Quality.USED, Quality.OUTSIDE_VALID_RANGE]
    np.testing.assert_allclose(result.observation[:2, 0], -0.1, rtol=1e-14)
    np.testing.assert_allclose(result.observation_variance[:2, 0], 0.02**2, rtol=1e-12)


def test_cells_without_observations_keep_what_they_know() -> None:
    parameters, state, forcing = three_cells()
    method, window = (
        EnSRFConfiguration(members=4).make([sigma_type(), lai_type()], [0, 1, 2]),
        Window.cut(forcing, toy.START),
    )
    first = method.initial_state(parameters, state)
    observed = toy.observed(sigma40=[-11.0, np.nan, -10.0], lai=[np.nan] * 3)
    before = prepared(0.3, 0.1, 0.02, persistent=0.4, gain=0.1, lasting=0.2, limit=1.0)
    lost = np.array([False, False, True])
    result, after, now = aware_cycle(
        method, before, BiasOptions(), AdaptiveErrors(), toy.LinearModel(parameters), first, window, observed,
        set_aside=lost,
    )  # fmt: skip
    of_open_loop = {"departure", "departures", "squares", "foretold"}  # none was given
    for name, old, new in zip(Memory._fields, before, after, strict=True):
        assert (new[0, 0] != old[0, 0]) == (name not in of_open_loop) or name in {"passing", "foretelling"}, name
        assert name == "passing" or (new[1:] == old[1:]).all(), name
        assert name == "passing" or (new[0, 1] == old[0, 1]).all(), name
    assert (result.quality[:, 0] == [Quality.USED, Quality.MISSING, Quality.STATE_NOT_FINITE]).all()
    np.testing.assert_allclose(result.observation[0, 0], -11.0 - now.bias[0, 0], rtol=1e-14)


@pytest.mark.parametrize(
    ("options", "values", "said"),
    [
        (BiasOptions, {"limit": 0.0}, "limit must be positive"),
        (BiasOptions, {"memory": 1.0}, "memory at least 2"),
        (BiasOptions, {"lasting_threshold": 1.0}, "lasting_threshold must be from 0 to below 1"),
        (BiasOptions, {"passing_threshold": 1.1}, "passing_threshold must be from 0 to 1"),
        (BiasOptions, {"carry_over": -0.1}, "carry_over must be from 0 to below 1"),
        (AdaptiveErrors, {"memory": 5.0}, "at least 10 observations"),
        (AdaptiveErrors, {"r_bounds": (2.0, 3.0)}, "r_bounds must be positive, finite and enclose 1"),
        (AdaptiveErrors, {"b_bounds": (0.0, 3.0)}, "b_bounds must be positive"),
        (AdaptiveErrors, {"ratio_bounds": (0.5, np.inf)}, "ratio_bounds must be positive"),
    ],
)
def test_options_that_cannot_be_meant(options: type, values: dict, said: str) -> None:
    with pytest.raises(FilterConfigurationError, match=said):
        options(**values)
