"""The page of `ldas explore`: widgets that make a choice, a map and the series of a cell that show it."""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from typing import Any

import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
from bokeh.document import Document

from ldas.landmodel.errors import LdasError
from ldas.pipeline.explore import pictures
from ldas.pipeline.explore.choice import TABS, comparable, settle
from ldas.pipeline.explore.content import KINDS, Content
from ldas.pipeline.explore.maps import Map, cell_at_click, described, map_of, score_words
from ldas.pipeline.explore.series import CellSeries, compared, profile_at, quantity_of, series_at
from ldas.pipeline.explore.taken import map_dataset, map_table, series_dataset, series_table
from ldas.pipeline.store.layout import layout

_NOTHING = "nothing"
_SHOWS = {"Day": "day", "Score": "score", "Land": "land"}
_STYLE = """
body #header { padding: 4px 8px; height: 48px; flex-wrap: nowrap; }
body #header .title { font-size: 1.2em; overflow: hidden; text-overflow: ellipsis; }
body #main { padding: 6px 12px; }
.ldas-synthetic {
  background: #ffd166; color: #222; padding: 3px 9px; border-radius: 4px; font-weight: 700; letter-spacing: .06em;
}
@media (max-width: 800px) {
  body #container, body #content { height: auto !important; overflow: visible !important; }
  body #content { flex-direction: column; }
  body #sidebar { width: 100% !important; max-width: 100% !important; height: auto; border-right: 0; }
  body #main { flex: none; width: 100%; height: auto; max-height: none !important; overflow: visible; }
  body #header .title { font-size: 1em; }
}
"""
_COLUMNS = {"flex-wrap": "wrap", "gap": "10px"}
_COLUMN = {"flex": "1 1 440px", "min-width": "min(100%, 320px)", "overflow": "hidden"}


class Page:
    """One visitor's page.

    content: the store as it is now; wanted: what the link asks for.
    """

    def __init__(self, content: Content, where: str, wanted: Mapping[str, str]) -> None:
        self.content, self.where = content, where
        self.choice, problems = settle(content, wanted)
        self._setting = False
        self._limits: tuple[float, float] | None = None
        self._map_key: object = None
        self._series_key: object = None
        self._grid = layout(*content.centres)
        self._shown = map_of(content, self.choice)
        self._series: CellSeries | None = None
        self._structure: object = None
        self._map_data = self._mark = self._series_data = hv.streams.Pipe(data=None)
        self._day_mark = hv.streams.Pipe(data=self._moment())
        self._make_widgets()
        self.message = pn.pane.Alert("", alert_type="warning", visible=False, sizing_mode="stretch_width")
        wide: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": (0, 5)}
        self.heading, self.cell_heading = pn.pane.Markdown("", **wide), pn.pane.Markdown("", **wide)
        self.map = pn.pane.HoloViews(**wide)
        self.series, self.profile = pn.pane.HoloViews(**wide), pn.pane.HoloViews(**wide)
        self.tabs = pn.Tabs(("Series", self.series), ("Soil profile", self.profile), sizing_mode="stretch_width")
        self.tabs.param.watch(self._tab_chosen, "active")
        self._say(problems)
        self._set_widgets()
        self._show_map()

    # --- widgets -------------------------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        wide = {"sizing_mode": "stretch_width"}
        self.widgets: dict[str, Any] = {
            "show": pn.widgets.RadioButtonGroup(
                label="show", options=_SHOWS, color="primary", variant="outline", **wide
            ),
            "experiment": pn.widgets.Select(label="Experiment", **wide),
            "minus": pn.widgets.Select(label="Compared with", **wide),
            "variable": pn.widgets.Select(label="Variable", **wide),
            "day": pn.widgets.DatePicker(label="Day", **wide),
            "lead": pn.widgets.IntSlider(label="Day of the forecast", start=1, end=2, **wide),
            "score": pn.widgets.Select(label="Evaluation", **wide),
            "measure": pn.widgets.Select(label="Score", **wide),
            "series": pn.widgets.Select(label="Experiment", **wide),
            "less": pn.widgets.Select(label="Compared with", **wide),
            "land": pn.widgets.Select(label="Variable", **wide),
        }
        self.earlier = pn.widgets.Button(label="◀", width=44, align="end")
        self.later = pn.widgets.Button(label="▶", width=44, align="end")
        self.slider = pn.widgets.IntSlider(label="", show_value=False, start=0, end=1, **wide)
        self.keep = pn.widgets.Checkbox(label="Keep the colour scale")
        for name, widget in self.widgets.items():
            watched = "value_throttled" if name == "lead" else "value"
            widget.param.watch(self._by_widget(name), watched)
        self.slider.param.watch(lambda event: self._to_place(int(event.new)), "value_throttled")
        self.earlier.on_click(lambda event: self._step(-1))
        self.later.on_click(lambda event: self._step(1))

    def _by_widget(self, name: str) -> Callable[[Any], None]:
        def changed(event: Any) -> None:
            if not self._setting:
                self.choose(**{name: event.new})

        return changed

    def _tab_chosen(self, event: Any) -> None:
        if not self._setting:
            self.choose(tab=TABS[event.new])

    def _step(self, by: int) -> None:
        days = self.content.sources[self.choice.experiment].days
        self._to_place(int(np.searchsorted(days, self.choice.day)) + by)

    def _to_place(self, place: int) -> None:
        days = self.content.sources[self.choice.experiment].days
        if not self._setting and 0 <= place < len(days):
            self.choose(day=days[place])

    def choose(self, **changes: Any) -> None:
        """Changes the choice by some of its fields and shows the new one."""
        with pn.io.hold(freeze=True), self._telling():  # the browser gets it all at once
            self.choice, _ = settle(self.content, {**asdict(self.choice), **changes})
            if set(changes) == {"cell"}:
                self._mark.send(self._place())
            else:
                self._set_widgets()
                self._show_map()
            self.show_series()
        self._to_link()

    def _set_widgets(self) -> None:
        """Options and values of all widgets, as the choice is."""
        choice, content, widgets = self.choice, self.content, self.widgets
        shows = {"day": bool(content.sources), "score": content.has_scores, "land": bool(content.land)}
        self._setting = True
        try:
            self._fill("show", {label: show for label, show in _SHOWS.items() if shows[show]})
            if content.sources:
                source = content.sources[choice.experiment]
                widgets["experiment"].groups = {
                    words: {one.name: path for path, one in content.sources.items() if one.kind == kind}
                    for kind, words in KINDS.items()
                    if any(one.kind == kind for one in content.sources.values())
                }
                widgets["experiment"].value = choice.experiment
                others = comparable(content, choice.experiment, choice.variable)
                self._fill("minus", {_NOTHING: "", **{content.sources[path].name: path for path in others}})
                self._fill("variable", {self._label(source.path, name): name for name in source.variables})
                first, last = (day.astype(date) for day in (source.days[0], source.days[-1]))
                widgets["day"].param.update(start=first, end=last, value=choice.day.astype(date))
                place = int(np.searchsorted(source.days, choice.day))
                self.slider.param.update(end=max(len(source.days) - 1, 1), value=place)
                widgets["day"].label = "Start of the forecast" if source.leads else "Day (UTC)"
                leads = source.leads
            if choice.show == "score":
                group = content.scores(choice.score)
                self._fill("score", {_score_label(name): name for name in content.score_groups})
                self._fill("measure", {score_words(name): name for name in group.measures})
                self._fill("series", {name: name for name in group.series})
                self._fill("less", {_NOTHING: "", **{name: name for name in group.series if name != choice.series}})
                leads = group.leads
            self._fill("land", {self._label("land", name): name for name in content.land})
            if choice.lead:
                widgets["lead"].param.update(end=max(leads, 2), value=choice.lead)
            self.tabs.active = TABS.index(choice.tab)
        finally:
            self._setting = False
        of_day, of_score = choice.show == "day", choice.show == "score"
        for name in ("experiment", "minus", "variable", "day"):
            widgets[name].visible = of_day
        for part in (self.slider, self.earlier, self.later):
            part.visible = of_day
        for name in ("score", "measure"):
            widgets[name].visible = of_score
        for name in ("series", "less"):
            widgets[name].visible = of_score and bool(choice.series)
        widgets["lead"].visible = choice.lead > 0 and choice.show != "land"
        widgets["land"].visible = choice.show == "land"

    def _fill(self, name: str, options: Mapping[str, str]) -> None:
        self.widgets[name].param.update(options=dict(options), value=getattr(self.choice, name))

    def _label(self, path: str, name: str) -> str:
        words = described(self.content, path, name)[0]
        return f"{name} · {words}" if words != name else name

    # --- what is shown -------------------------------------------------------------------------------------------

    def _show_map(self) -> None:
        shown = self._shown = map_of(self.content, self.choice)
        same_scale = (shown.name, shown.unit, shown.signed)
        if not (self.keep.value and self._limits and self._map_key == same_scale):
            self._limits = pictures.limits_of(shown)
        self.heading.object = f"**{shown.title}**  \n{pictures.named(shown.long_name, shown.unit)}"
        there = int(np.isfinite(shown.values).sum())
        if there == 0:
            self.heading.object += "  \n*no values here: nothing was computed or observed, or it is not there yet*"
        data = (shown, self._limits)
        if self._map_key == (*same_scale, shown.more_is_better):
            self._map_data.send(data)
            return
        self._map_key = (*same_scale, shown.more_is_better)
        self._map_data = hv.streams.Pipe(data=data)
        self._mark = hv.streams.Pipe(data=self._place())
        stretch = 1.0 / max(float(np.cos(np.deg2rad(self._grid.centres[0].mean()))), 0.1)

        def draw(data: tuple[Map, tuple[float, float]]) -> hv.Element:
            return pictures.map_element(data[0], self._grid, data[1])

        picture = pictures.map_picture(draw, [self._map_data], shown, self._grid, stretch)
        self._tap = hv.streams.Tap(source=picture)
        self._tap.add_subscriber(self._clicked)
        marks = hv.DynamicMap(lambda data: pictures.cell_mark(*data), streams=[self._mark])
        layers = picture * marks
        if self.content.stations:
            layers = layers * pictures.station_marks(self.content.stations)
        self.map.object = layers

    def _clicked(self, x: float | None = None, y: float | None = None) -> None:
        if x is not None and y is not None:
            self.choose(cell=cell_at_click(*self._grid.centres, y, x))

    def _place(self) -> tuple[float, float]:
        latitude, longitude = self._grid.centres
        return float(latitude[self.choice.cell]), float(longitude[self.choice.cell])

    def show_first_series(self) -> None:
        """The series, once the map is there."""
        try:
            self.show_series()
        except (LdasError, OSError) as error:
            self._say([str(error)])

    def show_series(self) -> None:
        """The series or the soil profile of the chosen cell, read if anything of them has changed."""
        if not self.content.sources:
            return
        self._head_cell()
        if self.choice.tab == "profile":
            self._show_profile()
            return
        quantity = quantity_of(self.content, self.choice)
        sources = tuple(source.path for source in compared(self.content, self.choice))
        forecast = (self.choice.experiment, self.choice.day) if self.choice.lead and self.choice.show == "day" else None
        if self._moment() != self._day_mark.data:
            self._day_mark.send(self._moment())
        key = (self.choice.cell, quantity, sources, forecast)
        if key == self._series_key:
            return
        self._series_key = key
        series = self._series = series_at(self.content, self.choice)
        if (structure := pictures.structure_of(series)) == self._structure:
            self._series_data.send(series)
            return
        self._structure = structure
        self._series_data = hv.streams.Pipe(data=series)
        self._day_mark = hv.streams.Pipe(data=self._moment())
        self.series.object, first = pictures.series_picture(self._series_data, self._day_mark, series)
        self._day_tap = hv.streams.Tap(source=first)
        self._day_tap.add_subscriber(self._clicked_day)

    def _moment(self) -> np.datetime64:
        """The chosen day as the series mark it."""
        return self.choice.day.astype("datetime64[ns]")

    def _clicked_day(self, x: Any = None, y: float | None = None) -> None:
        if x is not None and self.choice.show == "day":
            self.choose(day=np.datetime64(x, "D"))

    def _head_cell(self) -> None:
        latitude, longitude = (axis[self.choice.cell] for axis in self.content.centres)
        self.cell_heading.object = (
            f"**Cell {self.choice.cell}**  \n{abs(latitude):.3f}° {'N' if latitude >= 0 else 'S'}, "
            f"{abs(longitude):.3f}° {'E' if longitude >= 0 else 'W'}"
        )

    def _show_profile(self) -> None:
        profile = profile_at(self.content, self.choice)
        self.profile.object = None if profile is None else pictures.profile_picture(profile)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """An error about the store becomes a message on the page."""
        self._say([])
        try:
            yield
        except (LdasError, OSError) as error:
            self._say([str(error)])

    def _say(self, problems: list[str]) -> None:
        self.message.param.update(object="  \n".join(problems), visible=bool(problems))

    def _to_link(self) -> None:
        if pn.state.location is not None:
            query = "&".join(f"{key}={value}" for key, value in self.choice.query().items())
            pn.state.location.search = f"?{query}"

    def warm_up(self) -> None:
        """Draws everything once, for nobody: what the libraries import and compile at first use is there then."""
        self.show_series()
        self.view().server_doc(Document())

    # --- to take away --------------------------------------------------------------------------------------------

    def _downloads(self) -> list[Any]:
        def file(label: str, name: Callable[[], str], make: Callable[[], bytes]) -> Any:
            button = pn.widgets.FileDownload(label=label, filename="view", margin=3, styles={"flex": "1 1 104px"})
            button.callback = lambda: self._named(button, name(), make())
            return button

        synthetic = "SYNTHETIC_" if self.content.synthetic else ""

        def of_map(end: str) -> str:
            return synthetic + "_".join(self._shown.title.replace(",", "").split()).replace("/", "-") + end

        def of_cell(end: str) -> str:
            return f"{synthetic}{quantity_of(self.content, self.choice)}_cell_{self.choice.cell}{end}"

        files = [
            file("Map, NetCDF", lambda: of_map(".nc"), lambda: _netcdf(map_dataset(self.content, self._shown))),
            file("Map, CSV", lambda: of_map(".csv"), lambda: _csv(map_table(self.content, self._shown))),
            file(
                "Cell, NetCDF",
                lambda: of_cell(".nc"),
                lambda: _netcdf(series_dataset(self.content, self._now())),
            ),
            file("Cell, CSV", lambda: of_cell(".csv"), lambda: _csv(series_table(self._now()))),
        ]
        return [pn.FlexBox(*files, sizing_mode="stretch_width")]

    def _now(self) -> CellSeries:
        return self._series or series_at(self.content, self.choice)

    @staticmethod
    def _named(button: Any, name: str, content: bytes) -> io.BytesIO:
        button.filename = name
        return io.BytesIO(content)

    def view(self) -> pn.template.BootstrapTemplate:
        """The page as Panel serves it."""
        widgets = self.widgets
        synthetic = pn.pane.HTML("<span class='ldas-synthetic'>SYNTHETIC</span>", stylesheets=[_STYLE])
        return _template(
            self.where,
            header=[synthetic] if self.content.synthetic else [],
            # One model each: the document is gone through anew for every model that is added to it.
            sidebar=[
                pn.Column(
                    *(widgets[name] for name in ("show", "experiment", "score", "measure", "series", "minus", "less")),
                    *(widgets[name] for name in ("variable", "land")),
                    pn.Row(self.earlier, widgets["day"], self.later),
                    self.slider,
                    widgets["lead"],
                    self.keep,
                    sizing_mode="stretch_width",
                )
            ],
            main=[
                pn.Column(
                    self.message,
                    pn.FlexBox(
                        pn.Column(self.heading, self.map, *self._downloads(), styles=_COLUMN),
                        pn.Column(self.cell_heading, self.tabs, styles=_COLUMN),
                        sizing_mode="stretch_width",
                        styles=_COLUMNS,
                    ),
                    sizing_mode="stretch_width",
                )
            ],
        )


def _score_label(name: str) -> str:
    """A group of scores as it is read: `LAI_truth` as `LAI against truth`."""
    for end in ("_truth", "_observations"):
        name = name.replace(end, f" against {end[1:]}")
    return name.replace("_", " ")


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


def _netcdf(dataset: Any) -> bytes:
    return bytes(dataset.to_netcdf(engine="h5netcdf"))


def page(content: Callable[[], Content], where: str) -> pn.template.BootstrapTemplate:
    """The page for the request that is being answered; of a store that cannot be shown, what is wrong with it."""
    wanted = {} if pn.state.location is None else pn.state.location.query_params
    try:
        made = Page(content(), where, wanted)
    except (LdasError, OSError) as error:
        return _template(where, main=[pn.pane.Alert(str(error), alert_type="danger")])
    pn.state.onload(made.show_first_series)
    return made.view()


def _template(where: str, **parts: Any) -> pn.template.BootstrapTemplate:
    return pn.template.BootstrapTemplate(
        title=where, header_background="#1f3a4d", sidebar_width=300, raw_css=[_STYLE], **parts
    )
