"""What becomes of each observation: its code, its window, its rescaling."""

from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from ldas.assim import Quality
from ldas.assim.rescaling import cdf_matched, linearly_rescaled, seasonal_moments, seasonal_quantiles
from ldas.pipeline.stages.observations import (
    codes_of_windows,
    days_of,
    interpolated_in_time,
    values_of_windows,
    window_ends,
)
from ldas.pipeline.store.arrays import open_store
from tests.helpers.synthetic_store import COLD_DAYS, FIRST_DAY, write_observations
from tests.pipeline.stages.assimilate.support import CELLS, DAYS, TWO_BLOCKS, daily, read, run, small, swi_run


def test_every_observation_has_the_code_of_its_fate(store: Path, threads: Client) -> None:
    value = np.full((DAYS, CELLS), 0.25)
    quality = np.zeros(value.shape, dtype=np.int8)
    uncertainty = np.full(value.shape, 0.05)
    value[3, 0] = np.nan
    quality[3, 1] = Quality.MASKED_PRODUCT_FLAG  # its value is there
    quality[3, 2], value[3, 2] = Quality.MASKED_TOPOGRAPHY, np.nan
    value[3, 3] = 1.7
    uncertainty[4, 0] = 0.0
    uncertainty[4, 1] = np.nan
    value[5, 0] = 0.9
    uncertainty[6, 0], quality[6, 0] = -9999.0, Quality.MASKED_PRODUCT_FLAG  # no use is made of it
    write_observations(store, "swi", daily(6.0), {"value": value, "quality": quality, "uncertainty": uncertainty})
    write_observations(store, "ssm", daily(6.0), {"value": value, "quality": quality})
    settings = {"error": {"kind": "given"}, "innovation_limit": 0.5}
    runs = [
        {"name": "strict", "observations": [{"name": "swi", **settings}, {"name": "ssm", "assimilate": False}]},
        {"name": "lenient", "observations": [{"name": "swi", **settings, "reject_frozen": False}]},
    ]
    assert run(small(store, *runs), threads).complete
    code = read(store, "strict", "quality_swi")  # its first row is 2 April
    assert list(code[2]) == [
        Quality.MISSING,
        Quality.MASKED_PRODUCT_FLAG,
        Quality.MASKED_TOPOGRAPHY,
        Quality.OUTSIDE_VALID_RANGE,
    ]
    assert list(code[3]) == [Quality.ERROR_NOT_POSITIVE, Quality.ERROR_NOT_POSITIVE, Quality.USED, Quality.USED]
    assert list(code[4]) == [Quality.REJECTED_INNOVATION, Quality.USED, Quality.USED, Quality.USED]
    assert list(code[5]) == [Quality.MASKED_PRODUCT_FLAG, Quality.USED, Quality.USED, Quality.USED]
    cold = slice(COLD_DAYS[0], COLD_DAYS[1] - 1)
    assert (code[cold] == Quality.MASKED_FROZEN).all()
    snow = read(store, "lenient", "SWE")[cold] > 0.0
    assert snow.mean() > 0.7
    assert ((read(store, "lenient", "quality_swi")[cold] == Quality.MASKED_SNOW) == snow).all()
    compared = read(store, "strict", "quality_ssm")
    assert (compared[code == Quality.USED] == Quality.NOT_ASSIMILATED).all()
    assert np.isfinite(read(store, "strict", "innovation_ssm")[compared == Quality.NOT_ASSIMILATED]).all()
    increment = np.abs(read(store, "strict", "increment_WG2"))
    assert (increment[code != Quality.USED] == 0.0).all()
    assert (increment[code == Quality.USED] > 0.0).all()
    attributes = open_store(str(store))["runs/strict/quality_swi"].attrs
    assert attributes["flag_meanings"].split()[Quality.MASKED_FROZEN] == "masked_frozen"


def test_a_negative_uncertainty_stops_its_block_and_no_other(divided: Path, threads: Client) -> None:
    uncertainty = np.full((DAYS, CELLS), 0.05)
    uncertainty[7, 3] = -9999.0
    value = np.full((DAYS, CELLS), 0.25)
    write_observations(divided, "swi", daily(6.0), {"value": value, "uncertainty": uncertainty})
    outcome = run(small(divided, swi_run(), execution=TWO_BLOCKS), threads)
    assert list(outcome.failures) == [1]
    assert "swi: negative uncertainty -9999" in outcome.failures[1]
    assert np.isfinite(read(divided, "swi", "LAI")[:, :2]).all()


def test_observations_belong_to_the_window_they_lie_in(store: Path, threads: Client) -> None:
    """The analysis hour ends a window; of several overpasses the good ones are averaged."""
    times = FIRST_DAY + np.array([9 * 3600, 9 * 3600 + 1, 12 * 3600, 33 * 3600, 33 * 3600 + 1]).astype("timedelta64[s]")
    value = np.array([0.9, 0.1, 0.3, 0.9, 0.25])[:, None] * np.ones((1, CELLS))
    quality = np.zeros(value.shape, dtype=np.int8)
    quality[3] = Quality.MASKED_PRODUCT_FLAG
    write_observations(store, "swi", times, {"value": value, "quality": quality})
    assert run(small(store, swi_run()), threads).complete
    code, innovation = read(store, "swi", "quality_swi"), read(store, "swi", "innovation_swi")
    assert (code[:2] == Quality.USED).all()
    assert (code[2:] == Quality.MISSING).all()
    observed = innovation + read(store, "swi", "WG2_forecast")
    np.testing.assert_allclose(observed[0], 0.2, rtol=1e-5)
    np.testing.assert_allclose(observed[1], 0.25, rtol=1e-5)


@pytest.mark.parametrize("hour", [0, 9])
def test_windows_and_the_days_they_are_stored_under(hour: int) -> None:
    first, last = np.datetime64("2007-04-01").item(), np.datetime64("2007-04-04").item()
    ends = window_ends(first, last, hour)
    assert [str(end) for end in ends] == [f"2007-04-0{day}T{hour:02d}:00:00" for day in (2, 3, 4)]
    labels = days_of(ends)
    assert str(labels[0])[:10] == ("2007-04-02" if hour else "2007-04-01")
    times = ends[0] + np.array([-86400, -86399, 0, 1, 86400, 172800]).astype("timedelta64[s]")
    values = np.arange(6.0)[:, None]
    np.testing.assert_array_equal(values_of_windows(times, values, ends, hour)[:, 0], [1.5, 3.5, 5.0])
    codes = np.array([9, 9, 1, 1, 9, 0], dtype=np.int8)[:, None]
    np.testing.assert_array_equal(codes_of_windows(times, codes, ends, hour)[:, 0], [9, 9, 0])
    assert (codes_of_windows(times[:0], codes[:0], ends, hour) == Quality.MISSING).all()


def test_interpolation_in_time_stays_between_observations() -> None:
    times = daily(0.0)[[0, 10, 20]]
    values = np.array([[1.0, np.nan], [2.0, np.nan], [4.0, np.nan]])
    at = daily(0.0)[[0, 5, 15, 20, 21]]
    found = interpolated_in_time(times, values, at)
    np.testing.assert_allclose(found[:, 0], [1.0, 1.5, 3.0, 4.0, np.nan])
    assert np.isnan(found[:, 1]).all()


@pytest.mark.parametrize(
    ("method", "days"), [("linear", None), ("cdf", None), ("linear", ("2007-04-05", "2007-04-16"))]
)
def test_rescaled_observations_are_compared_with_the_model(
    store: Path, threads: Client, method: str, days: tuple[str, str] | None
) -> None:
    """Soil water index moved to the open loop's climatology, or that of a part of its days, together with LAI."""
    hours = np.arange(1, 24, 4)
    times = (daily(0.0)[:, None] + hours * np.timedelta64(3600, "s")).ravel()
    random = np.random.default_rng(5)
    value = np.clip(0.5 + 0.2 * random.standard_normal((len(times), CELLS)), 0.0, 1.0)
    write_observations(store, "swi", times, {"value": value})
    period = None if days is None else {"start": days[0], "end": days[1]}
    swi = {"name": "swi", "rescale": method, "rescale_period": period}
    both = {"name": "both", "observations": [swi, {"name": "lai"}]}
    assert run(small(store, both), threads).complete

    label = (times - np.timedelta64(9 * 3600 + 1, "s")).astype("datetime64[D]") + 1  # 09 UTC ends a window
    place = (label - FIRST_DAY.astype("datetime64[D]")).astype(int)
    model = np.full(value.shape, np.nan)
    inside = place < DAYS
    if days is not None:
        inside &= (label >= np.datetime64(days[0])) & (label <= np.datetime64(days[1]))
    model[inside] = read(store, "open_loop", "WG2")[place[inside]]
    months = np.full(len(times), 4)
    if method == "linear":
        moved = linearly_rescaled(value, months, seasonal_moments(value, model, months))
    else:
        moved = cdf_matched(value, months, seasonal_quantiles(value, model, months))
    expected = np.stack([moved[place == day].mean(axis=0) for day in range(1, DAYS)])
    used = read(store, "both", "quality_swi") == Quality.USED
    observed = read(store, "both", "innovation_swi") + read(store, "both", "WG2_forecast")
    assert used.sum() > 60
    np.testing.assert_allclose(observed[used], expected[used], rtol=2e-5)
    paired = np.isfinite(model)
    assert abs(moved[paired].mean() - model[paired].mean()) < 0.01
    assert (read(store, "both", "quality_lai") == Quality.USED).sum() > 5
