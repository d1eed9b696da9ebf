"""Scores against pytesmo and xskillscore as independent oracles, their minimum samples, and any chunks."""

import numpy as np
import pandas as pd
import pytesmo.metrics as oracle
import pytest
import xarray as xr
import xskillscore
from hypothesis import given, settings
from hypothesis import strategies as st

from ldas.pipeline.evaluation import metrics

DAYS = 400


def _series(cells: int = 6, missing: float = 0.2, seed: int = 1) -> tuple[xr.DataArray, xr.DataArray]:
    """Autocorrelated synthetic series (time, cell) with gaps in each."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(DAYS, cells))
    signal = np.zeros((DAYS, cells))
    for day in range(1, DAYS):
        signal[day] = 0.8 * signal[day - 1] + noise[day]
    model = 0.3 + 0.05 * signal + 0.02 * generator.normal(size=signal.shape)
    reference = 0.25 + 0.04 * signal + 0.03 * generator.normal(size=signal.shape)
    model[generator.random(model.shape) < missing] = np.nan
    reference[generator.random(model.shape) < missing] = np.nan
    time = pd.date_range("2015-01-01", periods=DAYS, freq="D")
    arrays = [
        xr.DataArray(values, dims=("time", "cell"), coords={"time": time}, attrs={"units": "m3 m-3"})
        for values in (model, reference)
    ]
    return arrays[0], arrays[1]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (metrics.bias, oracle.bias),
        (metrics.rmsd, oracle.rmsd),
        (metrics.unbiased_rmsd, oracle.ubrmsd),
        (metrics.correlation, oracle.pearson_r),
    ],
)
def test_each_score_is_that_of_pytesmo(function, expected) -> None:
    model, reference = _series()
    result = function(model, reference)
    for cell in range(model.sizes["cell"]):
        pair = pd.DataFrame({"m": model[:, cell], "o": reference[:, cell]}).dropna()
        assert float(result[cell]) == pytest.approx(float(expected(pair.m.values, pair.o.values)), rel=1e-12)


def test_scores_and_effective_sample_size_are_those_of_xskillscore() -> None:
    model, reference = _series(missing=0.0)
    assert np.allclose(metrics.correlation(model, reference), xskillscore.pearson_r(model, reference, dim="time"))
    assert np.allclose(metrics.rmsd(model, reference), xskillscore.rmse(model, reference, dim="time"))
    assert np.allclose(metrics.bias(model, reference), xskillscore.me(model, reference, dim="time"))
    effective = xskillscore.effective_sample_size(model, reference, dim="time")
    ours = metrics.effective_sample_size(model, reference)
    assert np.array_equal(np.floor(ours), effective)  # xskillscore rounds down
    assert (effective < DAYS).all()


def test_the_interval_is_fishers_with_the_effective_sample_size() -> None:
    model, reference = _series()
    scores = metrics.scores(model, reference)
    for cell in range(model.sizes["cell"]):
        pair = pd.DataFrame({"m": model[:, cell], "o": reference[:, cell]}).dropna()
        effective = float(scores.n_effective[cell])
        z = np.arctanh(float(oracle.pearson_r(pair.m.values, pair.o.values)))
        expected = np.tanh([z - 1.959964 / np.sqrt(effective - 3), z + 1.959964 / np.sqrt(effective - 3)])
        assert [float(scores.r_low[cell]), float(scores.r_high[cell])] == pytest.approx(list(expected), rel=1e-6)


def test_independent_pairs_have_the_interval_of_pytesmo() -> None:
    generator = np.random.default_rng(3)
    x = generator.normal(size=2000)
    y = x + generator.normal(size=2000)
    _, low, high = oracle.with_analytical_ci(oracle.pearson_r, x, y, alpha=0.05)
    scores = metrics.scores(xr.DataArray(x, dims="time"), xr.DataArray(y, dims="time"))
    assert float(scores.n_effective) > 1900
    assert float(scores.r_low) == pytest.approx(low, abs=2e-4)
    assert float(scores.r_high) == pytest.approx(high, abs=2e-4)


def test_anomalies_are_those_of_pytesmo() -> None:
    from pytesmo.time_series.anomaly import calc_anomaly

    model, reference = _series(missing=0.0)
    ours = metrics.anomaly_correlation(model, reference)
    for cell in range(model.sizes["cell"]):
        parts = [
            calc_anomaly(pd.Series(item[:, cell].values, index=item.time.values), window_size=35)
            for item in (model, reference)
        ]
        assert float(ours[cell]) == pytest.approx(float(parts[0].corr(parts[1])), rel=1e-9)


def test_kling_gupta_against_its_formula() -> None:
    model, reference = _series(missing=0.0)
    m, o = model[:, 0].values, reference[:, 0].values
    r = np.corrcoef(m, o)[0, 1]
    expected = 1 - np.sqrt((r - 1) ** 2 + (m.std() / o.std() - 1) ** 2 + (m.mean() / o.mean() - 1) ** 2)
    assert float(metrics.kling_gupta(model, reference)[0]) == pytest.approx(expected, rel=1e-12)


def test_all_scores_together_are_the_single_ones() -> None:
    model, reference = _series()
    together = metrics.scores(model, reference)
    single = {
        "n": metrics.sample_size,
        "bias": metrics.bias,
        "rmsd": metrics.rmsd,
        "ubrmsd": metrics.unbiased_rmsd,
        "r": metrics.correlation,
        "n_effective": metrics.effective_sample_size,
        "anomaly_r": metrics.anomaly_correlation,
        "kge": metrics.kling_gupta,
    }
    for name, function in single.items():
        assert np.array_equal(together[name], function(model, reference), equal_nan=True), name
    assert together.rmsd.attrs["units"] == "m3 m-3"
    assert together.r.attrs["units"] == "1"


@pytest.mark.parametrize("chunks", [{"time": 7, "cell": 4}, {"time": -1, "cell": 1}, {"time": 50}])
def test_chunks_change_nothing(chunks) -> None:
    model, reference = _series()
    lazy = metrics.scores(model.chunk(chunks), reference.chunk({"time": 13}))
    assert lazy.rmsd.chunks is not None
    xr.testing.assert_identical(lazy.compute(), metrics.scores(model, reference))
    monthly = metrics.scores_by_month(model.chunk(chunks), reference)
    xr.testing.assert_identical(monthly.compute(), metrics.scores_by_month(model, reference))


def test_months_and_seasons_are_those_of_the_pairs_chosen_by_hand() -> None:
    model, reference = _series()
    by_month = metrics.scores_by_month(model, reference)
    assert list(by_month.month.values) == list(range(1, 13))
    july = model.time.dt.month == 7
    xr.testing.assert_allclose(
        by_month.sel(month=7, drop=True), metrics.scores(model[july.values], reference[july.values])
    )
    by_season = metrics.scores_by_season(model, reference)
    assert float(by_season.n.sum()) == float(metrics.sample_size(model, reference).sum())
    summer = model.time.dt.month.isin([6, 7, 8]).values
    assert np.array_equal(by_season.rmsd.sel(season=2), metrics.rmsd(model[summer], reference[summer]))


def test_only_common_times_are_compared() -> None:
    model, reference = _series(missing=0.0)
    later = reference.isel(time=slice(100, None))
    assert (metrics.sample_size(model, later) == DAYS - 100).all()
    assert np.array_equal(metrics.rmsd(model, later), metrics.rmsd(model[100:], later))


def test_lazy_series_without_a_common_time_have_no_pair() -> None:
    """Such as a run at 00 UTC and a station at 09 UTC: as with series in memory."""
    model, reference = _series(missing=0.0)
    later = reference.assign_coords(time=reference.time + np.timedelta64(9, "h"))
    expected = metrics.scores(model, later)
    assert (expected.n == 0).all()
    lazy = model.chunk(time=100), later.chunk(time=100)
    xr.testing.assert_identical(metrics.scores(*lazy).compute(), expected)
    xr.testing.assert_identical(metrics.rmsd(*lazy).compute(), metrics.rmsd(model, later))


def test_too_few_pairs_no_pair_and_no_spread_give_nan_without_a_warning() -> None:
    model, reference = _series(cells=5, missing=0.0)
    model[:, 0] = np.nan  # no pair
    reference[5:, 1] = np.nan  # five pairs
    model[:, 2] = 0.1  # no spread, in a number that is no binary fraction
    reference[1:, 3] = np.nan  # one pair
    scores = metrics.scores(model, reference)
    assert list(scores.n.values) == [0, 5, DAYS, 1, DAYS]
    assert np.isnan(scores.isel(cell=0).drop_vars("n").to_array()).all()
    assert np.isnan(scores.r[1])
    assert np.isfinite(scores.rmsd[1])
    assert np.isnan(scores.r[2])
    assert np.isnan(scores.kge[2])
    assert np.isfinite(scores.rmsd[2])
    assert np.isnan(scores.rmsd[3])
    assert np.isfinite(scores.isel(cell=4).to_array()).all()
    assert np.isfinite(metrics.correlation(model, reference, minimum=5)[1])


def test_identical_series_are_perfect() -> None:
    model, _ = _series(missing=0.1)
    scores = metrics.scores(model, model)
    assert (scores.rmsd == 0).all()
    assert np.allclose(scores.r, 1.0, rtol=0, atol=1e-15)
    assert np.allclose(scores.kge, 1.0, rtol=0, atol=1e-14)
    assert np.allclose(scores.r_low, 1.0)


@given(
    scale=st.floats(0.1, 100.0),
    offset=st.floats(-100.0, 100.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_r_does_not_depend_on_units_and_rmsd_scales_with_them(scale: float, offset: float, seed: int) -> None:
    model, reference = _series(cells=1, seed=seed)
    moved = [item * scale + offset for item in (model, reference)]
    assert np.allclose(metrics.correlation(*moved), metrics.correlation(model, reference), atol=1e-9)
    assert np.allclose(metrics.rmsd(*moved), scale * metrics.rmsd(model, reference), rtol=1e-7)
    parts = metrics.scores(*moved)
    assert np.allclose(parts.rmsd**2, parts.bias**2 + parts.ubrmsd**2, rtol=1e-7)


def test_large_offsets_do_not_eat_the_correlation() -> None:
    """Temperatures in K: the spread is small beside the mean; a one-pass sum of squares would lose it."""
    model, reference = _series(cells=1)
    warm = [item * 1e-3 + 280.0 for item in (model, reference)]
    assert np.allclose(metrics.correlation(*warm), metrics.correlation(model, reference), atol=1e-8)


def test_information_contribution() -> None:
    r_open, r_better = xr.DataArray([0.5, 0.5, 1.0]), xr.DataArray([0.75, 0.25, 1.0])
    nic = metrics.normalised_information_contribution(r_better, r_open, perfect=1.0)
    assert list(nic.values[:2]) == [0.5, -0.5]
    assert np.isnan(nic[2])
    rmsd = metrics.normalised_information_contribution(xr.DataArray([0.2]), xr.DataArray([0.4]), perfect=0.0)
    assert float(rmsd[0]) == pytest.approx(0.5)


def test_cells_of_a_dominant_patch() -> None:
    values = [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.6, 0.4, 0.0]]
    fractions = xr.DataArray(values, dims=("cell", "patch"))
    score = xr.DataArray([[1.0, 3.0, 5.0, np.nan], [2.0, 4.0, np.nan, np.nan]], dims=("series", "cell"))
    result = metrics.by_dominant_patch(score, fractions)
    assert result.cells.dims == ("series", "patch")
    assert result.cells.values.tolist() == [[2, 1, 0], [2, 0, 0]]
    assert result["median"].values[0].tolist()[:2] == [2.0, 5.0]
    assert float(result.q75[0, 0]) == pytest.approx(np.nanquantile([1.0, 3.0, np.nan], 0.75))
    assert np.isnan(result["median"].values[1, 1:]).all()
