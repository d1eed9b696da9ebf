"""The committed table of statistics: made by the script from the two records, and sound."""

import io

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, norm

from ldas.pipeline.twin.climate import SITE_ELEVATION, Climate, by_month, month_of, persistence
from ldas.pipeline.twin.derive_statistics import HAPEX, PUECHABON, TABLE, derive, latent_persistence
from tests.pipeline.twin.support import SITES
from tests.support import shared


def test_the_table_is_what_the_script_makes_of_the_records() -> None:
    folder = shared(f"data/site_flux/{PUECHABON}").parent
    assert (folder / HAPEX).exists()
    committed = pd.read_csv(TABLE, comment="#")
    again = pd.read_csv(io.StringIO(derive(folder).to_csv(index=False, float_format="%.5g")))
    pd.testing.assert_frame_equal(again, committed, rtol=1e-4)


def test_annual_rain_of_the_records() -> None:
    """856 mm at Caumont in 1986 and 924 mm at Puechabon, from the table alone."""
    lengths = np.array([31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    for site, expected in (("caumont", 856.0), ("puechabon", 924.0)):
        total = float((by_month(site, "wet_share") * by_month(site, "wet_amount") * lengths).sum())
        assert total == pytest.approx(expected, rel=0.01)


def test_shares_are_shares() -> None:
    for site in SITE_ELEVATION:
        for name in ("wet_share", "clearness_dry", "clearness_wet", "humidity_dry", "humidity_wet", "emissivity_wet"):
            values = by_month(site, name)
            assert values.shape == (12,)
            assert ((values > 0.0) & (values < 1.0)).all(), (site, name)
    for name in ("wet", "temperature", "clearness", "humidity", "wind", "pressure"):
        assert all(0.0 <= value < 0.95 for value in persistence(name)), name


def test_latent_persistence_gives_back_the_share_after_wet_days() -> None:
    share, after_wet = 0.25, 0.45
    correlation = latent_persistence(share, after_wet)
    threshold = norm.isf(share)
    both = multivariate_normal.cdf([-threshold, -threshold], cov=[[1.0, correlation], [correlation, 1.0]])
    assert both / share == pytest.approx(after_wet, abs=1e-3)
    assert latent_persistence(share, share) == 0.0


def test_the_course_through_the_year_keeps_monthly_means() -> None:
    place = Climate(SITES, np.array([113.0, 270.0]), np.array([0.0, 1.0]))
    days = np.arange(np.datetime64("2010-01-01"), np.datetime64("2011-01-01"))
    course = place.through_year("temperature", days)
    made = np.stack([course[month_of(days) == month].mean(axis=0) for month in range(12)])
    np.testing.assert_allclose(made, place.monthly("temperature"), atol=0.1)
    assert np.abs(np.diff(course, axis=0)).max() < 0.6  # no jumps between months


def test_height_carries_temperature_pressure_and_rain() -> None:
    low, high = (Climate(SITES, np.array([height, height]), np.array([0.0, 1.0])) for height in (200.0, 1200.0))
    days = np.arange(np.datetime64("2010-01-01"), np.datetime64("2010-12-31"))
    np.testing.assert_allclose(low.temperature(days) - high.temperature(days), 5.5)
    ratio = high.pressure(days) / low.pressure(days)
    assert ((ratio > 0.87) & (ratio < 0.90)).all()  # the standard atmosphere: 0.885
    assert (high.wet_amount(days) > 1.3 * low.wet_amount(days)).all()
