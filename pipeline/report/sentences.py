"""Plain sentences about numbers: what is better, equal or worse, and by how much."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ldas.landmodel.array_types import Array
from ldas.pipeline.errors import count

MOST = 0.75  # from this part of the cells on it is "most"
HALF = 0.55
AMOUNT = "kg m-2"  # of water


def number(value: float | None, digits: int = 3) -> str:
    """A number with that many significant digits, without exponent where one can do without; a dash for none."""
    if value is None or not np.isfinite(value):
        return "–"
    if value == 0.0:
        return "0"
    size = int(np.floor(np.log10(abs(value))))
    if -4 <= size < 7:
        text = f"{value:.{max(digits - 1 - size, 0)}f}"
        return text.replace("-", "−")
    return f"{value:.{digits - 1}e}".replace("-", "−")


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def shown_unit(unit: str) -> str:
    """A unit as it is printed: `m2 m-2` with raised exponents and spaces at which no line breaks; nothing for `1`."""
    if unit in ("", "1"):
        return ""
    raised = re.sub(r"(?<=[A-Za-z])-?\d+\b", lambda found: found[0].translate(_RAISED), unit.replace("CO2", "CO₂"))
    return raised.replace(" ", "\u00a0")


def with_unit(value: float | None, unit: str) -> str:
    """A number with its unit, on one line."""
    return f"{number(value)}\u00a0{shown_unit(unit)}".rstrip("\u00a0")


def percent(fraction: float) -> str:
    """A part as whole percent; never 0 or 100 for what is not exactly none or all."""
    value = round(100.0 * fraction)
    if value == 0 and fraction > 0.0:
        return "less than 1\u00a0%"
    if value == 100 and fraction < 1.0:
        return "more than 99\u00a0%"
    return f"{value}\u00a0%"


def named(experiment: str) -> str:
    """An experiment's name, set apart from the words around it."""
    return f"“{experiment}”"


def against_open_loop(
    experiment: str,
    facts: Mapping[str, float | int | None],
    key: str,
    *,
    what: str,
    reference: str,
    score: str,
    unit: str,
    open_loop: float | None,
) -> str:
    """One experiment against the open loop, from the keys `<key>_...` of `evaluation.summary`.

    Args:
        what: the quantity in words.
        reference: what it is compared with, in words.
        score: RMSD or R.
    """
    improved, worsened = facts.get(f"{key}_improved_fraction"), facts.get(f"{key}_worsened_fraction")
    cells, median = int(facts.get(f"{key}_cells") or 0), facts.get(f"{key}_median")
    if improved is None or worsened is None or not cells:
        return f"The {what} of {named(experiment)} cannot be compared with the open loop: no cell has both scores."
    at = "" if cells == 1 else "median "
    values = f"{at}{score} {with_unit(median, unit)} instead of {with_unit(open_loop, unit)}"
    better, worse, equal = _VERDICTS[score == "R"]
    subject = f"The {what} of {named(experiment)}"

    def said(verdict: str, link: str, part: float) -> str:
        place = "" if cells == 1 else f" in {_amount(part, cells)}"
        return f"{subject} {verdict} {reference} {link} the open loop's{place}"

    if not improved and not worsened:
        return f"{said(equal, 'as', 1.0)} ({at}{score} {with_unit(median, unit)})."
    if improved >= HALF:
        return f"{said(better, 'than', improved)} ({values})."
    if worsened >= HALF:
        return f"{said(worse, 'than', worsened)} ({values}): here the assimilation does harm."
    return (
        f"{subject} {better} {reference} than the open loop's in {percent(improved)} of the {cells} cells, and the "
        f"other way round in {percent(worsened)}: no clear gain ({values})."
    )


# For a distance (RMSD) and for a correlation: what better, worse and equal are called.
_VERDICTS = {
    False: ("is closer to", "is further from", "is exactly as close to"),
    True: ("correlates better with", "correlates worse with", "correlates exactly as well with"),
}


def _amount(part: float, cells: int) -> str:
    if part == 1.0:
        return f"all {count(cells, 'cell')}"
    return f"{'most' if part >= MOST else 'more than half'} of the {count(cells, 'cell')}: {percent(part)}"


def alone(
    experiment: str, *, what: str, reference: str, score: str, unit: str, median: float | None, cells: int
) -> str:
    """The level of a single run."""
    if median is None or not np.isfinite(median):
        return f"The {what} of {named(experiment)} has no common day with {reference}."
    place = "" if cells == 1 else f" at the median of {count(cells, 'cell')}"
    return f"The {what} of {named(experiment)} differs from {reference} by {score} {with_unit(median, unit)}{place}."


def forecast(
    name: str,
    run: str,
    *,
    what: str,
    reference: str,
    score: str,
    unit: str,
    values: Array,
    open_loop: Array | None,
) -> str:
    """How far ahead forecasts from the analyses of a run are better than the open loop.

    Args:
        what: the quantity in words.
        reference: what it is compared with, in words.
        score: RMSD or R.
        values: of the forecasts, by days from the analysis; NaN where there is none.
        open_loop: the same of the open loop, or None.
    """
    subject = f"Forecasts {named(name)} of {what}, from the analyses of {named(run)}"
    known = [place for place, value in enumerate(values) if np.isfinite(value)]
    if not known:
        return f"{subject}: too few days with {reference} to be compared."
    first, last = known[0], known[-1]
    if open_loop is None:
        levels = " and ".join(
            f"{with_unit(values[day], unit)} on day {day + 1}" for day in dict.fromkeys((first, last))
        )
        return f"{subject}: median {score} against {reference} {levels}."
    sign = -1.0 if score == "R" else 1.0
    better = [day for day in known if sign * values[day] < sign * open_loop[day]]
    verb = "correlate better with" if score == "R" else "are closer to"
    levels = "; ".join(
        f"median {score} {with_unit(values[day], unit)} instead of {with_unit(open_loop[day], unit)} on day {day + 1}"
        for day in dict.fromkeys((first, last))
    )
    when = f"on {len(better)} of {count(len(known), 'day')}" if better else "on no day"
    return f"{subject}, {verb} {reference} than the open loop {when} ({levels})."


def innovations(experiment: str, observation: str, unit: str, mean: float, deviation: float) -> str:
    """Whether the forecast is biased against the observations."""
    if not np.isfinite(mean) or not np.isfinite(deviation):
        return f"{named(experiment)} has no innovation of {observation}."
    size = abs(mean) / deviation if deviation > 0.0 else np.inf
    if mean == 0.0 or size < 0.1:
        verdict = "the forecast has next to no bias against the observations"
    else:
        side = "below" if mean > 0.0 else "above"
        strong = "clearly " if size > 0.5 else "slightly "
        verdict = f"the forecast lies {strong}{side} the observations"
    return (
        f"Innovations of {observation} in {named(experiment)}: mean {with_unit(mean, unit)}, standard deviation "
        f"{with_unit(deviation, unit)}; {verdict}."
    )


def estimated_errors(observation: str, unit: str, observed: float, forecast: float) -> str:
    """What innovations and residuals say about the errors (Desroziers et al. 2005), from two variances."""
    if not (observed > 0.0 and forecast > 0.0):
        return f"From innovations and residuals of {observation} no errors can be estimated."
    return (
        f"Innovations and residuals of {observation} are consistent with an observation error of "
        f"{with_unit(observed**0.5, unit)} and a forecast error of {with_unit(forecast**0.5, unit)} "
        "(Desroziers et al. 2005)."
    )


def chi_square(experiment: str, ratio: float) -> str:
    """Whether the errors that a filter was given are as large as its innovations."""
    if not np.isfinite(ratio):
        return f"{named(experiment)} used no observation."
    return (
        f"Squared innovations of {named(experiment)} are {number(ratio, 2)} times what its errors imply (1 is "
        "consistent, more means errors that are too small)."
    )


def whiteness(observation: str, correlation: float) -> str:
    """How far innovations remember the ones before them."""
    if not np.isfinite(correlation):
        return f"There are too few innovations of {observation} to say whether they are white."
    return (
        f"The correlation of successive innovations of {observation} is {number(correlation, 2)} (median over the "
        "cells; those of an optimal filter have none)."
    )


def white_cells(experiment: str, observation: str, correlation: Array, limit: float) -> str:
    """In how many cells innovations hardly remember the ones before them; correlation (cell,), finite."""
    below = int((np.abs(correlation) < limit).sum())
    where = percent(below / correlation.size) if below else "none"
    cells = f"in {where} of {count(correlation.size, 'cell')}, the" if correlation.size > 1 else "the"
    least = f"below {limit:g}" if correlation.size > 1 else number(float(correlation[0]), 2)
    return f"Innovations of {observation} in {named(experiment)}: {cells} correlation of successive ones is {least}."


def spread(experiment: str, observation: str, unit: str, expected: float, found: float) -> str:
    """Whether the forecast error that a filter expects is the one that innovations show."""
    if not np.isfinite(expected):
        return f"{named(experiment)} has no window with {observation} alone: spread and skill cannot be compared."
    if not found > 0.0:
        return (
            f"Innovations of {observation} in {named(experiment)} are smaller than the observation error alone "
            "implies: that error is too large."
        )
    ratio = expected / found
    verdict = "as large as" if 0.9 <= ratio <= 1.1 else f"{number(ratio, 2)} times"
    return (
        f"{named(experiment)} gives its forecasts of {observation} an error of {with_unit(expected, unit)}, {verdict} "
        f"the one that innovations show ({with_unit(found, unit)}) if the observation error is right."
    )


def estimated_bias(experiment: str, observation: str, bounded_days: Array) -> str:
    """How often what a filter estimates of its errors is at a bound."""
    days, cells = int(np.nansum(bounded_days)), int((bounded_days > 0).sum())
    often = f"is at a bound on {count(days, 'cell-day')} in {count(cells, 'cell')}" if days else "never reaches a bound"
    return f"What {named(experiment)} estimates of its errors with {observation} {often}."


def quality(experiment: str, observation: str, counts: Mapping[str, int]) -> str:
    """How many observations were used, and why most of the others were not."""
    present = {code: value for code, value in counts.items() if code != "missing"}
    total = sum(present.values())
    if not total:
        return f"{named(experiment)} met no observation of {observation}."
    used = present.get("used", 0)
    text = f"{named(experiment)} used {percent(used / total)} of {count(total, 'observation')} of {observation}"
    others = {code: value for code, value in present.items() if code != "used" and value}
    if others:
        code = max(others, key=lambda name: others[name])
        reason = code.replace("_", " ")
        most = (
            f"most of the others ({percent(others[code] / sum(others.values()))})" if len(others) > 1 else "the others"
        )
        text += f"; {most} were left out: {reason}"
    return text + "."


def in_situ(network: str, medians: Mapping[str, float], improved: Mapping[str, int], stations: int) -> str:
    """Soil moisture at the stations of a network: median R of every experiment, and where it is above the open loop's.

    Args:
        improved: experiment -> number of stations at which its R is higher than the open loop's.
    """
    listed = ", ".join(f"{named(name)} {number(value)}" for name, value in medians.items())
    at = "R" if stations == 1 else f"median R over {count(stations, 'station')}"
    text = f"Surface soil moisture against the sensors of {network}: {at}: {listed}"
    for name, better in improved.items():
        text += f"; {named(name)} correlates better than the open loop at {better} of {stations}"
    return text + "."


def span(south: float, north: float, west: float, east: float) -> str:
    """Where a domain lies, with the side of the equator and of Greenwich in words."""

    def side(value: float, positive: str, negative: str) -> str:
        return f"{abs(value):.2f} degrees {negative if value < 0.0 else positive}"

    return (
        f"from {side(south, 'north', 'south')} to {side(north, 'north', 'south')}, "
        f"{side(west, 'east', 'west')} to {side(east, 'east', 'west')}"
    )


def place(latitude: float, longitude: float) -> str:
    """A point in words."""
    north, east = "south" if latitude < 0.0 else "north", "west" if longitude < 0.0 else "east"
    return f"{abs(latitude):.2f} degrees {north}, {abs(longitude):.2f} degrees {east}"


def water(experiment: str, terms: Mapping[str, float]) -> str:
    """Where the water went."""
    rain = terms.get("precipitation", float("nan"))
    parts = {name: terms[name] for name in ("evapotranspiration", "drainage", "runoff") if name in terms}
    if not parts:
        return f"{named(experiment)} stores no term of the water balance."
    if np.isfinite(rain) and rain > 0.0:
        shares = ", ".join(f"{percent(value / rain)} {name}" for name, value in parts.items())
        text = f"Of {with_unit(rain, AMOUNT)} of rain and snow a year, {named(experiment)} turns into: {shares}"
    else:
        amounts = ", ".join(f"{with_unit(value, AMOUNT)} {name}" for name, value in parts.items())
        text = f"Per year {named(experiment)} has {amounts}"
    added = terms.get("added_by_analysis")
    if added is not None and np.isfinite(added):
        verb = "adds" if added >= 0.0 else "takes away"
        text += f"; the analysis {verb} {with_unit(abs(added), AMOUNT)} a year"
        if np.isfinite(rain) and rain > 0.0:
            text += f" ({percent(abs(added) / rain)} of the rain)"
    return text + "."


def predictors(names: Sequence[str], losses: Sequence[float], unit: str) -> str:
    """Which predictor the operator lives on."""
    known = [(name, loss) for name, loss in zip(names, losses, strict=True) if np.isfinite(loss)]
    if not known:
        return "The worth of the predictors is not known."
    ordered = sorted(known, key=lambda item: -item[1])
    listed = ", ".join(f"{name} {with_unit(loss, unit)}" for name, loss in ordered)
    return f"Holding a predictor at its mean costs most for {ordered[0][0]} (median rise of RMSD: {listed})."


def tower(variable: str, site: str, best: str, rows: Mapping[str, tuple[float, float]], unit: str) -> str:
    """A variable at a tower: RMSD and R of every experiment; `best` has the smallest RMSD."""
    parts = [f"{named(name)} RMSD {with_unit(rmsd, unit)}, R\u00a0{number(r, 2)}" for name, (rmsd, r) in rows.items()]
    listed = ", ".join(parts)
    if len(rows) == 1:
        return f"{variable} at {site}: {listed}."
    values = [rmsd for rmsd, _ in rows.values() if np.isfinite(rmsd)]
    if values and max(values) == min(values):
        return f"{variable} at {site} is the same in all experiments: {listed}."
    return f"{variable} at {site} is closest to the measurements in {named(best)}: {listed}."
