"""The sentences of the first screen: whether assimilation helped, where and when, with how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ldas.landmodel.array_types import Array
from ldas.pipeline.errors import count
from ldas.pipeline.report.sentences import named, number, percent, shown_unit
from ldas.pipeline.report.sources import listed

OBSERVATIONS = {
    "sigma40": "backscatter",
    "lai": "leaf area index",
    "swi": "the soil water index",
    "ssm": "surface soil moisture",
}
ALONE = "the model alone (the open loop)"
HELPED, HARMED, UNCLEAR, SHORT = "helped", "did harm", "no clear change", "too short to tell"


@dataclass(frozen=True)
class Gain:
    """What is known about one variable.

    median: share of the open loop's error that is removed, at the median cell; low, high: its 95 % limits, NaN for a
    period that is too short. level, level_before: median score with and without assimilation. The others are cells.
    """

    what: str
    reference: str
    score: str
    unit: str
    median: float
    low: float
    high: float
    level: float
    level_before: float
    cells: int
    improved: int
    worsened: int
    surely_improved: int
    surely_worsened: int

    @property
    def is_certain(self) -> bool:
        """Whether there are limits."""
        return bool(np.isfinite(self.low))

    @property
    def verdict(self) -> str:
        """In two or three words."""
        if not self.is_certain:
            return SHORT
        return HELPED if self.low > 0.0 else HARMED if self.high < 0.0 else UNCLEAR

    @property
    def interval(self) -> str:
        """`31 to 43 %`: less error, or more where the verdict is that assimilation did harm."""
        low, high = (-self.high, -self.low) if self.verdict == HARMED else (self.low, self.high)
        return f"{_whole(low)} to {_whole(high)}\u00a0%"


def _whole(part: float) -> str:
    return f"{round(100.0 * part)}".replace("-", "−")


def signed(part: float) -> str:
    """`38 %`, `−3 %`."""
    return f"−{percent(-part)}" if part < 0.0 else percent(part)


def unknown(experiment: str, open_loop: str | None) -> str:
    """Why there is no answer."""
    if open_loop is None:
        return f"That cannot be said: there is no open loop to compare {named(experiment)} with."
    return (
        f"That cannot be said: on the days of {named(experiment)} and {named(open_loop)} there are no observations of "
        "backscatter, leaf area index or soil moisture, and no truth, to compare them with."
    )


def change(part: float) -> str:
    """`34 % less error`, `8 % more error`."""
    return f"{percent(abs(part))} {'more' if part < 0.0 else 'less'} error"


def headline(gain: Gain) -> str:
    """The number of a variable."""
    if round(100.0 * gain.median) == 0:
        return "same error"
    return change(gain.median)


def details(gain: Gain) -> list[str]:
    """What stands below it: its interval, the scores, and the cells."""
    unit = "; error is 1 − R" if gain.score == "R" else f"\u00a0{shown_unit(gain.unit)}".rstrip("\u00a0")
    levels = f"{gain.score} against {gain.reference}: {number(gain.level)} instead of {number(gain.level_before)}{unit}"
    lines = [
        f"95 % interval: {gain.interval} {'more' if gain.verdict == HARMED else 'less'}"
        if gain.is_certain
        else "too few months for an interval",
        levels if gain.cells == 1 else f"median {levels}",
    ]
    if gain.cells > 1:
        better, worse = f"better in {gain.improved} of {count(gain.cells, 'cell')}", f"worse in {gain.worsened}"
        if gain.is_certain:
            better += f" ({gain.surely_improved} beyond chance)"
            worse += f" ({gain.surely_worsened})"
        lines.append(f"{better}, {worse}")
    return lines


def did_it_help(experiment: str, assimilated: Sequence[str], gains: Sequence[Gain]) -> str:
    """Whether it helped, and for which variable, the largest gain first; how sure that is stands beside each number."""
    what = listed([OBSERVATIONS.get(name, name) for name in assimilated])
    subject = f"Assimilating {what} ({named(experiment)})"
    ordered = sorted(gains, key=lambda one: -one.median)
    groups = {
        verdict: [one for one in ordered if one.verdict == verdict] for verdict in (HELPED, HARMED, UNCLEAR, SHORT)
    }
    parts = []
    if groups[HELPED]:
        parts.append(_sizes(groups[HELPED], "less"))
    if groups[HARMED]:
        parts.append(_sizes(groups[HARMED], "more"))
    if parts:
        verb = "did harm" if not groups[HELPED] else "helped" if not groups[HARMED] else "helped in part"
        text = f"{subject} {verb}: 24 h forecasts have {' but '.join(parts)}"
        text += f", compared with {ALONE}"
        if groups[UNCLEAR]:
            text += f"; {listed([one.what for one in groups[UNCLEAR]])} did not clearly change"
    elif groups[UNCLEAR]:
        text = f"{subject} did not clearly change the 24 h forecasts of {listed([one.what for one in ordered])}"
    else:
        changes = [f"{one.what} by {signed(-one.median)}" for one in groups[SHORT]]
        text = (
            f"{subject} changed the error of 24 h forecasts of {listed(changes)}, over too few months to say how sure "
            "that is"
        )
    return text + "."


def _sizes(gains: Sequence[Gain], word: str) -> str:
    """`34 % less error in leaf area index and 11 % less in surface soil moisture`."""
    sizes = [
        f"{percent(abs(one.median))} {word}{'' if place else ' error'} in {one.what}" for place, one in enumerate(gains)
    ]
    return listed(sizes)


def where(gains: Sequence[Gain], best: str, by_patch: Mapping[str, float]) -> str:
    """In how many cells it helped, and under which vegetation most; nothing for one cell.

    Args:
        best: the variable that gains most.
        by_patch: its median gain by dominant patch.
    """
    if max(gain.cells for gain in gains) == 1:
        return ""
    first = next(gain for gain in gains if gain.what == best)
    text = f"{best[0].upper()}{best[1:]} is better in {first.improved} of {count(first.cells, 'cell')}"
    if len(by_patch) > 1:
        order = sorted(by_patch, key=lambda name: -by_patch[name])
        most, least = (f"{order[place]} ({change(by_patch[order[place]])})" for place in (0, -1))
        text += f", most under {most} and least under {least}"
    harmed = [f"{one.what} is worse in {count(one.surely_worsened, 'cell')}" for one in gains if one.surely_worsened]
    if harmed:
        text += f"; beyond chance, {listed(harmed)}"
    elif all(gain.is_certain for gain in gains):
        text += "; beyond chance, nothing is worse in any cell"
    return text + "."


def when(what: str, months: Array, middle: Array) -> str:
    """In which months a variable gains most and least (medians over the cells); nothing for a single month."""
    known = np.flatnonzero(np.isfinite(middle))
    if len(known) < 2:
        return ""
    best, worst = known[np.argmax(middle[known])], known[np.argmin(middle[known])]
    better = int((middle[known] > 0.0).sum())
    text = f"{what[0].upper()}{what[1:]} has less error than the open loop in {better} of {count(len(known), 'month')}"
    most, least = (f"{_month(months[place])} ({change(middle[place])})" for place in (best, worst))
    return f"{text}; the best was {most}, the worst {least}."


def _month(time: np.datetime64) -> str:
    return time.astype("datetime64[s]").item().strftime("%B %Y")
