"""What is shown of a store: every choice that a link can hold, made valid for what the store has."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np

from ldas.pipeline.explore.content import Content, ScoreGroup, Source

Show = Literal["day", "score", "land"]
TABS = ("series", "profile")
_PREFERRED = ("LAI", "WG2", "sigma40", "value")


@dataclass(frozen=True)
class Choice:
    """What is shown. Of a day: a `variable` of an `experiment` (path of its group), `minus` another one where given, of
    forecasts the `lead` day. Of a score: a `measure` of a group of scores for a series, `less` another series. Of the
    land: a variable. And the `cell` whose series, or soil profile, the `tab` has."""

    show: Show
    experiment: str
    minus: str
    variable: str
    day: np.datetime64
    lead: int
    score: str
    measure: str
    series: str
    less: str
    land: str
    cell: int
    tab: str

    def query(self) -> dict[str, str]:
        """As the query of a link: without what another kind of map has, or what is not chosen."""
        kept = {"day": _OF_DAYS, "score": _OF_SCORES, "land": _OF_LAND}[self.show]
        values = asdict(self)
        found = {key: str(values[key]) for key in kept if values[key] not in ("", 0) or key == "cell"}
        return found if self.tab == TABS[0] else {**found, "tab": self.tab}


_OF_DAYS = ("show", "experiment", "minus", "variable", "day", "lead", "cell")
_OF_SCORES = ("show", "score", "measure", "series", "less", "lead", "cell")
_OF_LAND = ("show", "land", "cell")


def settle(content: Content, wanted: Mapping[str, Any]) -> tuple[Choice, list[str]]:
    """A valid choice near to what is wanted, by the names of the fields of `Choice`; text as in a link will do.

    Returns:
        The choice, and a sentence on everything wanted that is not in the store.
    """
    problems: list[str] = []

    def one_of(key: str, options: Iterable[str], default: str, where: str = "the store") -> str:
        there, value = tuple(options), str(wanted.get(key, "") or "")
        if value in there:
            return value
        if value:
            problems.append(
                f"{key} '{value}' is not stored in {where}; there are: {', '.join(filter(None, there)) or 'none'}"
            )
        return default

    shows = [
        *(["day"] if content.sources else []),
        *(["score"] if content.has_scores else []),
        *(["land"] if content.land else []),
    ]
    show = cast(Show, one_of("show", shows, shows[0]))
    experiment, minus, variable, leads = "", "", "", 0
    day: np.datetime64 = np.datetime64("NaT", "D")
    if content.sources:
        experiment = one_of("experiment", content.sources, _first_source(content))
        source = content.sources[experiment]
        variable = one_of("variable", source.variables, _first_of(source.variables), experiment)
        minus = one_of("minus", ["", *comparable(content, experiment, variable)], "")
        day = _day(content, source, wanted.get("day"), problems)
        leads = source.leads
    score = measure = series = less = ""
    if show == "score":
        score = one_of("score", content.score_groups, _first_score(content, variable))
        group = content.scores(score)
        measure = one_of("measure", group.measures, next(iter(group.measures), ""), score)
        series = one_of("series", group.series, _first_series(group), score)
        less = one_of("less", ["", *(name for name in group.series if name != series)], "", score)
        leads = group.leads
    land = one_of("land", content.land, next(iter(content.land), ""), "the land")
    lead = _number(wanted.get("lead"), "lead", 1, leads, min(1, leads), problems)
    cells = len(content.centres[0])
    cell = _number(wanted.get("cell"), "cell", 0, cells - 1, _middle(content), problems)
    tab = one_of("tab", TABS, TABS[0], "the page")
    made = Choice(show, experiment, minus, variable, day, lead, score, measure, series, less, land, cell, tab)
    return made, problems


def comparable(content: Content, experiment: str, variable: str) -> list[str]:
    """Sources that have a variable too: runs and truth for each other, and forecasts for each other."""
    source = content.sources[experiment]
    return [
        path
        for path, other in content.sources.items()
        if path != experiment
        and variable in other.variables
        and (other.leads > 0) == (source.leads > 0)
        and (other.kind == "observations") == (source.kind == "observations")
    ]


def _first_source(content: Content) -> str:
    """The first run with observations, else the first of all."""
    return next((run.path for run in content.runs if not run.is_free), next(iter(content.sources)))


def _first_of(variables: tuple[str, ...]) -> str:
    return next((name for name in _PREFERRED if name in variables), variables[0])


def _first_score(content: Content, variable: str) -> str:
    """Scores of the variable that was looked at."""
    names = content.score_groups
    own = [name for name in names if name.startswith((f"{variable}_", f"{variable.lower()}_"))]
    return next(iter([*own, *names]))


def _first_series(group: ScoreGroup) -> str:
    """That of the first run that is not the open loop, if there are several."""
    return group.series[1] if len(group.series) > 1 else next(iter(group.series), "")


def _day(content: Content, source: Source, wanted: Any, problems: list[str]) -> np.datetime64:
    """The stored day nearest to the one that is wanted."""
    if wanted is None or str(wanted) == "NaT":
        return content.last_computed(source)
    try:
        day = np.datetime64(str(wanted), "D")
    except ValueError:
        problems.append(f"day '{wanted}' is no date: expected one such as {source.days[0]}")
        return content.last_computed(source)
    if not source.days[0] <= day <= source.days[-1]:
        problems.append(f"day {day} is not stored in {source.path}, which has {source.days[0]} to {source.days[-1]}")
    return source.nearest(day)


def _number(wanted: Any, name: str, low: int, high: int, default: int, problems: list[str]) -> int:
    if wanted is None or high < low:
        return default
    text = str(wanted)
    if text.isascii() and text.isdigit() and low <= int(text) <= high:
        return int(text)
    problems.append(f"{name} '{text}': expected a whole number from {low} to {high}")
    return default


def _middle(content: Content) -> int:
    """The cell nearest to the middle of the cells."""
    latitude, longitude = content.centres
    return int(np.argmin(np.hypot(latitude - np.median(latitude), longitude - np.median(longitude))))
