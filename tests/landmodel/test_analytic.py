"""The land model against SURFEX on weather given by formulas: runs everywhere, with the monthly figures here.

The tables in `data/analytic` hold 8 digits: half a unit of the last one is 5e-6 K in temperature and 5e-9 m3 m-3 in
soil water.
"""

from pathlib import Path

import numpy as np
import pytest

from ldas.pipeline.forcing.analytic import TWO_YEARS, analytic_forcing, analytic_weather
from ldas.pipeline.site.conformance import Row, compare, tolerance
from ldas.pipeline.site.reference_cases import read_analytic_cases
from tests.support import shared

DATA = Path(__file__).parent / "data" / "analytic"
CASES = [path.stem.removesuffix("_monthly") for path in sorted(DATA.glob("*_monthly.csv"))]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return compare(read_analytic_cases(DATA))


@pytest.mark.parametrize("case", CASES)
def test_two_years_agree_with_surfex(rows: list[Row], case: str) -> None:
    of_case = [row for row in rows if row.case == case]
    held = {row.variable for row in of_case if tolerance(row) is not None}
    assert {"RN", "H", "LE", "GFLUX", "GPP"} <= held
    beyond = [
        f"{row.period} {row.variable} {row.layer}: {row.max_abs:g} {row.unit}"
        for row in of_case
        if (allowed := tolerance(row)) is not None and not row.max_abs <= allowed
    ]
    assert beyond == []


def test_every_layer_pool_and_patch_is_compared(rows: list[Row]) -> None:
    def layers(case: str, variable: str) -> set[int | None]:
        return {row.layer for row in rows if row.case == case and row.variable == variable}

    assert layers("c3_loam", "TG") == set(range(1, 15))
    assert layers("c3_loam", "WG") == set(range(1, 11))
    assert layers("bone_loam", "WGI") == set(range(1, 12))
    assert layers("gras_loam", "BIOMASS") == {1, 2, 3}
    assert layers("bone_loam_snow", "SNOW_RHO") == set(range(1, 13))
    assert layers("mix_loam", "TG_GRAS") == {1, 2, 5}


def test_weather_by_formulas_is_that_of_the_reference() -> None:
    check = np.genfromtxt(shared("reference/surfex/analytic/forcing_check.csv"), delimiter=",", names=True)
    weather = analytic_weather(TWO_YEARS)
    at = check["step"].astype(int)
    columns = {"Tair": "tair_K", "Qair": "qair_kgkg", "PSurf": "psurf_Pa", "Wind": "wind_ms", "SWdown": "swdown_Wm2"}
    columns |= {"LWdown": "lwdown_Wm2", "precipitation": "precip_kgm2s", "cloud": "cloud", "cos_zenith": "cos_zenith"}
    for name, column in columns.items():
        # The sun's hour angle is rounded in another order here: 1e-13 of it are 1e-10 W m-2.
        np.testing.assert_allclose(weather[name][at], check[column], rtol=1e-12, atol=1e-10, err_msg=name)
    snowy = (weather["Tair"] < 273.16) & (weather["precipitation"] > 0)
    np.testing.assert_array_equal(snowy[at], check["is_snow_in_snow_version"] == 1)


def test_precipitation_is_stored_at_the_end_of_its_step() -> None:
    weather = analytic_weather(500)
    rain, snow = analytic_forcing(500), analytic_forcing(500, snow=True)
    np.testing.assert_array_equal(np.asarray(rain.forcing.Rainf)[1:, 0], weather["precipitation"])
    np.testing.assert_array_equal(np.asarray(rain.forcing.Tair)[:-1, 0], weather["Tair"])
    total = np.asarray(snow.forcing.Rainf) + np.asarray(snow.forcing.Snowf)
    np.testing.assert_array_equal(total, np.asarray(rain.forcing.Rainf))
    assert float(np.asarray(snow.forcing.Snowf).max()) > 0
