"""The sentences of the first screen: whether assimilation helped, where and when, with how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ldas.landmodel.array_types import Array
from ldas.pipeline.report.sentences import count, named, number, percent, shown_unit
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


def headline(gain: Gain) -> str:
    """The number of a variable."""
    if round(100.0 * gain.median) == 0:
        return "same error"
    return f"{percent(abs(gain.median))} {'less' if gain.median > 0.0 else 'more'} error"


def details(gain: Gain) -> list[str]:
    """What stands below it: its interval, the scores, and the cells."""
    unit = f"\u00a0{shown_unit(gain.unit)}".rstrip("\u00a0")
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
    """Whether it helped, and for which variable."""
    subject = f"With {listed([OBSERVATIONS.get(name, name) for name in assimilated])} assimilated ({named(experiment)})"
    groups = {verdict: [one for one in gains if one.verdict == verdict] for verdict in (HELPED, HARMED, UNCLEAR, SHORT)}
    parts = []
    if groups[HELPED]:
        parts.append(f"less error than {ALONE} in {_listed(groups[HELPED])}")
    if groups[HARMED]:
        parts.append(f"more error{'' if parts else f' than {ALONE}'} in {_listed(groups[HARMED])}")
    text = f"{subject}, 24 h forecasts have {' but '.join(parts)}" if parts else subject
    if groups[UNCLEAR]:
        link = "; " if parts else ", "
        text += f"{link}there is no clear change in {_listed(groups[UNCLEAR])}"
    if groups[SHORT]:
        changes = [f"{one.what} by {signed(-one.median)}" for one in groups[SHORT]]
        link = "; they" if parts else ", 24 h forecasts"
        text += f"{link} change the error of {listed(changes)}, over too few months to say how sure that is"
    return text + "."


def _listed(gains: Sequence[Gain]) -> str:
    texts = []
    for place, one in enumerate(gains):
        sign, word = (-1.0, "more") if one.verdict == HARMED else (1.0, "less")
        size = signed(sign * one.median) if place else f"{signed(sign * one.median)} {word}"
        texts.append(f"{one.what} ({size}; {one.interval if place else f'95 %: {one.interval}'})")
    return listed(texts)


def where(gains: Sequence[Gain], best: str, by_patch: Mapping[str, float]) -> str:
    """In how many cells, and under which vegetation the gain of a variable is largest; nothing for one cell.

    Args:
        best: the variable that gains most.
        by_patch: its median gain by dominant patch.
    """
    if max(gain.cells for gain in gains) == 1:
        return ""
    texts = []
    for place, gain in enumerate(gains):
        cells = f"{gain.improved} of {count(gain.cells, 'cell')}" if place == 0 else f"{gain.improved}"
        sure = f" ({gain.surely_improved}{'' if place else ' beyond chance'})" if gain.is_certain else ""
        texts.append(f"{gain.what}{' is better' if place == 0 else ''} in {cells}{sure}")
    text = listed(texts)
    text = text[0].upper() + text[1:]
    harmed = [one for one in gains if one.surely_worsened]
    if harmed:
        verbs = [" is worse", *[""] * (len(harmed) - 1)]
        places = [
            f"{one.what}{verb} in {count(one.surely_worsened, 'cell')}" for one, verb in zip(harmed, verbs, strict=True)
        ]
        text += f"; beyond chance, {listed(places)}"
    elif all(gain.is_certain for gain in gains):
        text += "; nothing is worse beyond chance in any cell"
    if len(by_patch) > 1:
        order = sorted(by_patch, key=lambda name: -by_patch[name])
        text += (
            f". {best[0].upper()}{best[1:]} gains most where {order[0]} dominate ({signed(by_patch[order[0]])} at the "
            f"median) and least where {order[-1]} do ({signed(by_patch[order[-1]])})"
        )
    return text + "."


def when(what: str, months: Array, low: Array, middle: Array, high: Array) -> str:
    """In which months a variable gains most and least (quartiles over the cells); nothing for a single month."""
    known = np.flatnonzero(np.isfinite(middle))
    if len(known) < 2:
        return ""
    best, worst = known[np.argmax(middle[known])], known[np.argmin(middle[known])]
    better = int((middle[known] > 0.0).sum())
    span = f"; half of the cells {_whole(low[best])} to {_whole(high[best])}\u00a0%" if high[best] > low[best] else ""
    harm = ": more error than the open loop" if middle[worst] < 0.0 else ""
    text = f"{what[0].upper()}{what[1:]} has less error than the open loop in {better} of {count(len(known), 'month')}"
    return (
        f"{text}, most in {_month(months[best])} ({signed(middle[best])}{span}) and least in {_month(months[worst])} "
        f"({signed(middle[worst])}{harm})."
    )


def _month(time: np.datetime64) -> str:
    return time.astype("datetime64[s]").item().strftime("%B %Y")
