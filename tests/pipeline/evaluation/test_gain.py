"""How sure a gain is: known answers, blocks, months."""

import numpy as np
import pytest

from ldas.pipeline.evaluation.gain import DRAWS, GainCounts, gains, quantiles

DAYS = np.datetime64("2015-01-01", "D") + np.arange(365)


def made(errors: np.ndarray, cells: int = 3, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """An open loop with errors of size 1, and one whose errors are `errors` (day,) times those; a reference."""
    random = np.random.default_rng(seed)
    reference = np.sin(np.arange(365) / 20.0)[:, None] + np.zeros(cells)
    off = random.choice([-1.0, 1.0], size=(365, cells))
    return np.stack([reference + off, reference + errors[:, None] * off]), reference


def test_a_gain_that_is_the_same_every_month_is_certain() -> None:
    model, reference = made(np.full(365, 0.5))
    limits, counts = gains(model, reference, DAYS, 0, "rmsd")
    assert limits[:, 1] == pytest.approx(0.5)
    assert limits[:, 0] == pytest.approx(0.0)
    domain = counts.dataset(DAYS)
    assert domain["median_low"].values == pytest.approx([0.0, 0.5])
    assert domain["median_high"].values == pytest.approx([0.0, 0.5])
    assert domain["month_median"].values[1] == pytest.approx(np.full(12, 0.5))
    assert domain["time"].values[[0, -1]].astype("datetime64[M]").tolist() == [
        np.datetime64("2015-01"),
        np.datetime64("2015-12"),
    ]


def test_the_limits_are_those_of_months_drawn_with_replacement() -> None:
    months = DAYS.astype("datetime64[M]").astype(int) % 12
    errors = np.where(months < 6, 0.2, 1.3)  # helps half of the year and harms in the other half
    model, reference = made(errors)
    limits, counts = gains(model, reference, DAYS, 0, "rmsd")
    random = np.random.default_rng(5)
    lengths = np.bincount(months)
    drawn = random.integers(0, 12, size=(20_000, 12))
    square = (lengths * np.where(np.arange(12) < 6, 0.04, 1.69))[drawn].sum(axis=1) / lengths[drawn].sum(axis=1)
    expected = np.quantile(1.0 - np.sqrt(square), (0.025, 0.975))
    assert limits[:, 1].mean(axis=1) == pytest.approx(expected, abs=0.03)
    by_month = counts.dataset(DAYS)["month_median"].values[1]
    assert by_month == pytest.approx(np.where(np.arange(12) < 6, 0.8, -0.3), abs=0.006)


def test_of_a_correlation() -> None:
    random = np.random.default_rng(2)
    reference = random.normal(size=(365, 2))
    noise = random.normal(size=(365, 2))
    model = np.stack([reference + noise, reference + 0.1 * noise])
    limits, _ = gains(model, reference, DAYS, 0, "r")
    r = np.array([[np.corrcoef(model[k, :, c], reference[:, c])[0, 1] for c in range(2)] for k in range(2)])
    gain = (r[1] - r[0]) / (1.0 - r[0])
    assert (limits[0, 1] < gain).all()
    assert (limits[1, 1] > gain).all()
    assert (limits[1, 1] - limits[0, 1] < 0.03).all()


def test_blocks_of_cells_add_up_and_gaps_count_for_nothing() -> None:
    model, reference = made(np.linspace(0.0, 2.0, 365), cells=5)
    reference[::3, 2] = np.nan
    model[1, 40:80, 3] = np.nan
    reference[:, 4] = np.nan
    limits, counts = gains(model, reference, DAYS, 0, "rmsd")
    parts = [gains(model[..., part], reference[:, part], DAYS, 0, "rmsd") for part in (slice(0, 2), slice(2, 5))]
    assert np.array_equal(np.concatenate([one for one, _ in parts], axis=-1), limits, equal_nan=True)
    total = parts[0][1]
    total.add(parts[1][1])
    assert np.array_equal(total.draws, counts.draws)
    assert np.array_equal(total.months, counts.months)
    assert counts.draws.sum() == 2 * DRAWS * 4  # two series in four cells
    assert np.isnan(limits[..., 4]).all()


def test_a_short_period_has_no_limits_but_months() -> None:
    model, reference = made(np.full(365, 0.5))
    limits, counts = gains(model[:, :150], reference[:150], DAYS[:150], 0, "rmsd")
    domain = counts.dataset(DAYS[:150])
    assert np.isnan(limits).all()
    assert np.isnan(domain["median_low"].values).all()
    assert domain["month_median"].values[1] == pytest.approx(np.full(5, 0.5))


def test_quantiles_of_counts_are_those_of_the_values() -> None:
    values = np.array([-3.0, -0.2, 0.1, 0.11, 0.7, 2.0])
    bins = np.clip(np.rint(values * 100), -101, 101).astype(int) + 101
    counts = np.bincount(bins, minlength=203)[None]
    assert quantiles(counts, (0.0, 0.5, 0.75, 1.0))[0] == pytest.approx([-1.01, 0.105, 0.5525, 1.01])
    assert np.isnan(quantiles(np.zeros((1, 203), int), (0.5,))).all()
    assert isinstance(GainCounts(counts[None], counts[None]).dataset(DAYS[:3])["median_low"].item(), float)
