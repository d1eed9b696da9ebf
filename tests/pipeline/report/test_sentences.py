"""Sentences say what the numbers say: better, equal, worse, mixed, nothing."""

import numpy as np
import pytest

from ldas.pipeline.report import sentences


def _plain(text: str) -> str:
    """With plain spaces where the sentence has those at which no line breaks."""
    return text.replace("\u00a0", " ")


def _facts(improved: float | None, worsened: float | None, cells: int = 247, median: float = 0.34) -> dict:
    return {
        "x_improved_fraction": improved,
        "x_worsened_fraction": worsened,
        "x_cells": cells,
        "x_median": median,
    }


def _said(facts: dict, score: str = "RMSD") -> str:
    return _plain(
        sentences.against_open_loop(
            "ekf", facts, "x", what="forecast", reference="the truth", score=score, unit="dB", open_loop=0.62
        )
    )


def test_better() -> None:
    text = _said(_facts(0.92, 0.08))
    assert text == (
        "The forecast of “ekf” is closer to the truth than the open loop's in most of the 247 cells: 92 % (median RMSD "
        "0.340 dB instead of 0.620 dB)."
    )
    assert "all 247 cells" in _said(_facts(1.0, 0.0))
    assert "more than half" in _said(_facts(0.6, 0.4))


def test_equal() -> None:
    text = _said(_facts(0.0, 0.0))
    assert "exactly as close to the truth as the open loop's in all 247 cells" in text
    assert "instead of" not in text


def test_worse() -> None:
    text = _said(_facts(0.1, 0.9))
    assert "further from the truth" in text
    assert "does harm" in text
    assert "90 %" in text


def test_mixed_and_nothing() -> None:
    assert "no clear gain" in _said(_facts(0.5, 0.48))
    assert "cannot be compared" in _said(_facts(None, None, cells=0))


@pytest.mark.parametrize(
    ("improved", "worsened", "words"),
    [(1.0, 0.0, "closer to the truth than"), (0.0, 1.0, "further from the truth than"), (0.0, 0.0, "exactly as close")],
)
def test_one_cell_has_no_fractions(improved: float, worsened: float, words: str) -> None:
    text = _said(_facts(improved, worsened, cells=1))
    assert words in text
    assert "cells" not in text
    assert "median" not in text


def test_correlations_have_their_own_words() -> None:
    assert "correlates better with" in _said(_facts(0.9, 0.1), score="R")
    assert "correlates worse with" in _said(_facts(0.1, 0.9), score="R")
    assert "exactly as well" in _said(_facts(0.0, 0.0), score="R")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.3412, "0.341"),
        (-12.345, "−12.3"),
        (1234.5, "1234"),
        (np.nan, "–"),
        (None, "–"),
        (3.2e-6, "3.20e−06"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert sentences.number(value) == text


def test_percentages_never_round_to_none_or_all() -> None:
    assert _plain(sentences.percent(0.001)) == "less than 1 %"
    assert _plain(sentences.percent(0.999)) == "more than 99 %"
    assert _plain(sentences.percent(0.0)) == "0 %"
    assert _plain(sentences.percent(1.0)) == "100 %"


@pytest.mark.parametrize(
    ("mean", "words"),
    [(0.001, "next to no bias"), (0.1, "slightly below"), (-0.1, "slightly above"), (0.4, "clearly below")],
)
def test_innovations(mean: float, words: str) -> None:
    assert words in sentences.innovations("ekf", "sigma40", "dB", mean, 0.3)


def test_innovations_that_are_missing() -> None:
    assert "no innovation" in sentences.innovations("ekf", "sigma40", "dB", np.nan, np.nan)


def test_spread_and_skill() -> None:
    assert "dB, as large as the one that innovations show" in sentences.spread("ekf", "sigma40", "dB", 0.4, 0.42)
    assert "an error of 0.200\u00a0dB, 0.50 times the one" in sentences.spread("ekf", "sigma40", "dB", 0.2, 0.4)
    assert "that error is too large" in sentences.spread("ekf", "swi", "1", 0.2, float("nan"))
    assert "no window with lai alone" in sentences.spread("ekf", "lai", "m2 m-2", float("nan"), float("nan"))


def test_white_innovations() -> None:
    said = sentences.white_cells("ekf", "sigma40", np.array([0.1, -0.19, 0.2, 0.3]), 0.2)
    assert said == (
        "Innovations of sigma40 in “ekf”: in 50\u00a0% of 4 cells, the correlation of successive ones is below 0.2."
    )
    assert "“ekf”: the correlation of successive ones is 0.31." in sentences.white_cells(
        "ekf", "lai", np.array([0.31]), 0.2
    )
    assert "in none of 2 cells, the" in sentences.white_cells("ekf", "lai", np.array([0.31, 0.4]), 0.2)


def test_quality() -> None:
    counts = {"used": 80, "masked_snow": 15, "masked_frozen": 5, "missing": 900}
    text = _plain(sentences.quality("ekf", "sigma40", counts))
    assert "80 % of 100 observations" in text
    assert "most of the others (75 %) were left out: masked snow" in text
    assert "; the others were left out: masked snow." in sentences.quality("ekf", "lai", {"used": 1, "masked_snow": 3})
    assert "met no observation" in sentences.quality("ekf", "lai", {"missing": 10})
    assert _plain(sentences.quality("ekf", "lai", {"used": 3})).endswith("100 % of 3 observations of lai.")


def test_water() -> None:
    terms = {"precipitation": 900.0, "evapotranspiration": 540.0, "runoff": 90.0, "added_by_analysis": -9.0}
    text = _plain(sentences.water("ekf", terms))
    assert "60 % evapotranspiration" in text
    assert "takes away 9.00 kg m⁻²" in text
    assert "(1 % of the rain)" in text
    assert "540 kg m⁻² evapotranspiration" in _plain(sentences.water("ekf", {"evapotranspiration": 540.0}))
    assert "no term" in sentences.water("ekf", {})


def test_towers_and_predictors() -> None:
    rows = {"open_loop": (20.0, 0.7), "ekf": (15.0, 0.8)}
    assert "closest to the measurements in “ekf”" in sentences.tower("LE", "FR-Pue", "ekf", rows, "W m-2")
    same = {"open_loop": (20.0, 0.7), "ekf": (20.0, 0.7)}
    assert "the same in all experiments" in sentences.tower("LE", "FR-Pue", "ekf", same, "W m-2")
    assert "costs most for WG2" in sentences.predictors(["LAI", "WG2"], [0.1, 0.5], "dB")
    assert "not known" in sentences.predictors(["LAI"], [np.nan], "dB")


def test_errors_that_innovations_tell() -> None:
    text = _plain(sentences.estimated_errors("lai", "m2 m-2", 0.16, 0.09))
    assert "an observation error of 0.400 m² m⁻² and a forecast error of 0.300 m² m⁻²" in text
    assert "no errors can be estimated" in sentences.estimated_errors("sigma40", "dB", -0.1, 0.3)
    assert "1.9 times what its errors imply" in sentences.chi_square("EKF", 1.93)
    assert sentences.chi_square("EKF", float("nan")) == "“EKF” used no observation."


@pytest.mark.parametrize(
    ("unit", "shown"),
    [
        ("m2 m-2", "m² m⁻²"),
        ("kg m-2 yr-1", "kg m⁻² yr⁻¹"),
        ("kg CO2 m-2 s-1", "kg CO₂ m⁻² s⁻¹"),
        ("dB", "dB"),
        ("1", ""),
        ("", ""),
    ],
)
def test_units_have_raised_exponents(unit: str, shown: str) -> None:
    assert _plain(sentences.shown_unit(unit)) == shown


def test_soil_moisture_at_stations_better_equal_worse() -> None:
    def said(better: int) -> str:
        return sentences.in_situ("NET", {"open_loop": 0.8, "ekf": 0.85}, {"ekf": better}, 12)

    assert said(9) == (
        "Surface soil moisture against the sensors of NET: median R over 12 stations: “open_loop” 0.800, “ekf” 0.850; "
        "“ekf” correlates better than the open loop at 9 of 12."
    )
    assert "better than the open loop at 0 of 12" in said(0)
    assert "median" not in sentences.in_situ("NET", {"open_loop": 0.8}, {}, 1)


def test_places_name_their_sides() -> None:
    assert sentences.place(-3.5, -60.25) == "3.50 degrees south, 60.25 degrees west"
    assert sentences.span(42.0, 46.0, -2.0, 4.0) == (
        "from 42.00 degrees north to 46.00 degrees north, 2.00 degrees west to 4.00 degrees east"
    )
