"""The sentences of the first screen, for gains that are clear, unclear, bad, and of periods that are too short."""

from dataclasses import replace

import numpy as np

from ldas.pipeline.report import answer_words as words
from ldas.pipeline.report.answer_words import Gain

LEAF = Gain(
    what="leaf area index",
    reference="the truth",
    score="RMSD",
    unit="m2 m-2",
    median=0.341,
    low=0.17,
    high=0.49,
    level=0.375,
    level_before=0.616,
    cells=46,
    improved=42,
    worsened=4,
    surely_improved=24,
    surely_worsened=1,
)
WATER = replace(
    LEAF, what="surface soil moisture", score="R", unit="1", median=0.03, low=-0.014, high=0.06, surely_worsened=0
)
HARMED = replace(WATER, median=-0.12, low=-0.2, high=-0.05)
SHORT = replace(LEAF, low=np.nan, high=np.nan)


def test_verdicts() -> None:
    assert [one.verdict for one in (LEAF, WATER, HARMED, SHORT)] == [
        "helped",
        "no clear change",
        "did harm",
        "too short to tell",
    ]
    assert words.headline(LEAF) == "34\u00a0% less error"
    assert words.headline(HARMED) == "12\u00a0% more error"
    assert words.headline(replace(WATER, median=0.004)) == "same error"


def test_did_it_help() -> None:
    assert words.did_it_help("EKF", ["sigma40"], [WATER, LEAF, replace(LEAF, what="backscatter", median=0.25)]) == (
        "Assimilating backscatter (“EKF”) helped: 24 h forecasts have 34\u00a0% less error in leaf area index and "
        "25\u00a0% less in backscatter, compared with the model alone (the open loop); surface soil moisture did not "
        "clearly change."
    )
    assert words.did_it_help("EKF", ["lai", "swi"], [LEAF, HARMED]) == (
        "Assimilating leaf area index and the soil water index (“EKF”) helped in part: 24 h forecasts have 34\u00a0% "
        "less error in leaf area index but 12\u00a0% more error in surface soil moisture, compared with the model "
        "alone (the open loop)."
    )
    assert words.did_it_help("EKF", ["lai"], [HARMED]).startswith(
        "Assimilating leaf area index (“EKF”) did harm: 24 h forecasts have 12\u00a0% more error in surface soil "
        "moisture"
    )
    assert words.did_it_help("EKF", ["lai"], [WATER]) == (
        "Assimilating leaf area index (“EKF”) did not clearly change the 24 h forecasts of surface soil moisture."
    )
    assert words.did_it_help("EKF", ["lai"], [SHORT]) == (
        "Assimilating leaf area index (“EKF”) changed the error of 24 h forecasts of leaf area index by −34\u00a0%, "
        "over too few months to say how sure that is."
    )


def test_no_answer() -> None:
    assert words.unknown("EKF", None) == "That cannot be said: there is no open loop to compare “EKF” with."
    assert words.unknown("EKF", "open_loop").startswith(
        "That cannot be said: on the days of “EKF” and “open_loop” there are no observations"
    )


def test_where() -> None:
    assert words.where([LEAF, WATER], "leaf area index", {"conifers": -0.04, "C3 crops": 0.43}) == (
        "Leaf area index is better in 42 of 46 cells, most under C3 crops (43\u00a0% less error) and least under "
        "conifers (4\u00a0% more error); beyond chance, leaf area index is worse in 1 cell."
    )
    assert words.where([WATER], WATER.what, {}).endswith("; beyond chance, nothing is worse in any cell.")
    assert words.where([replace(LEAF, cells=1, improved=1)], LEAF.what, {}) == ""


def test_when() -> None:
    months = np.array(["2008-03", "2008-04", "2008-05"], dtype="datetime64[M]")
    assert words.when("leaf area index", months, np.array([-0.08, 0.2, 0.7])) == (
        "Leaf area index has less error than the open loop in 2 of 3 months; the best was May 2008 (70\u00a0% less "
        "error), the worst March 2008 (8\u00a0% more error)."
    )
    assert words.when("leaf area index", months[:1], np.array([0.2])) == ""


def test_details() -> None:
    assert words.details(LEAF) == [
        "95 % interval: 17 to 49\u00a0% less",
        "median RMSD against the truth: 0.375 instead of 0.616\u00a0m²\u00a0m⁻²",
        "better in 42 of 46 cells (24 beyond chance), worse in 4 (1)",
    ]
    assert words.details(WATER)[1] == "median R against the truth: 0.375 instead of 0.616; error is 1 − R"
    assert words.details(HARMED)[0] == "95 % interval: 5 to 20\u00a0% more"
    assert words.details(replace(SHORT, cells=1))[:2] == [
        "too few months for an interval",
        "RMSD against the truth: 0.375 instead of 0.616\u00a0m²\u00a0m⁻²",
    ]
