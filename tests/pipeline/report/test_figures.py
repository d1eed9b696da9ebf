"""Figures: colours that survive a grey print, scales centred at zero, units on the axes, the same bytes every time."""

import numpy as np
import pytest

from ldas.pipeline.evaluation.stations import monthly_cycle
from ldas.pipeline.report import maps, series, style
from ldas.pipeline.report.document import Table, format_cell
from ldas.pipeline.report.sources import running_mean


def _lightness(colours: np.ndarray) -> np.ndarray:
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


def test_the_diverging_colours_darken_evenly_from_the_middle() -> None:
    colours = style.DIVERGING(np.linspace(0, 1, 256))[:, :3]
    lightness = _lightness(colours)
    assert (np.diff(lightness[:128]) > 0).all()
    assert (np.diff(lightness[128:]) < 0).all()
    assert abs(lightness[0] - lightness[-1]) < 3
    assert lightness[127] > 93
    blue, red = colours[0], colours[-1]
    assert blue[2] > blue[0]
    assert red[0] > red[2]


def test_sequential_colours_keep_their_order_in_grey() -> None:
    assert (np.diff(_lightness(style.SEQUENTIAL(np.linspace(0, 1, 64))[:, :3])) > 0).all()


def test_colours_of_differences_are_centred_at_zero() -> None:
    low, high = maps.colour_limits(np.array([-0.1, 0.4, np.nan]), diverging=True)
    assert low == -high
    assert maps.colour_limits(np.array([np.nan]), diverging=True) == (-1.0, 1.0)
    assert maps.colour_limits(np.zeros(3), diverging=True) == (-1.0, 1.0)
    low, high = maps.colour_limits(np.array([2.0, 2.0]), diverging=False)
    assert low < 2.0 < high


def _grid() -> tuple[np.ndarray, np.ndarray]:
    latitude, longitude = np.meshgrid(42.125 + 0.25 * np.arange(4), -1.875 + 0.25 * np.arange(5), indexing="ij")
    return latitude.ravel(), longitude.ravel()


def test_a_map_has_units_stations_and_hatched_gaps() -> None:
    latitude, longitude = _grid()
    values = np.linspace(-1, 1, len(latitude))
    values[3] = np.nan
    figure = maps.cell_map(
        latitude,
        longitude,
        values,
        title="RMSD",
        label="RMSD (dB)",
        diverging=True,
        worse=values > 0,
        stations=[("CDM", 42.5, -1.5)],
    )
    axes, bar = figure.axes
    assert axes.get_xlabel() == "longitude (°E)"
    assert axes.get_ylabel() == "latitude (°N)"
    assert bar.get_ylabel() == "RMSD (dB)"
    assert any(text.get_text() == "CDM" for text in axes.texts)
    assert any(getattr(item, "get_hatch", lambda: None)() for item in axes.collections)
    low, high = axes.collections[-1].get_clim()
    assert low == -high


def test_the_outline_follows_the_cells_and_their_gaps() -> None:
    member = np.ones((3, 3), dtype=bool)
    member[1, 1] = False
    edges = maps._outline(member, np.arange(4.0), np.arange(4.0))
    assert edges.shape == (16, 2, 2)  # twelve around, four around the gap
    assert np.allclose(np.abs(np.diff(edges, axis=1)).sum(axis=(1, 2)), 1.0)
    inner = edges[np.all((edges >= 1.0) & (edges <= 2.0), axis=(1, 2))]
    assert len(inner) == 4


def test_codes_of_neighbouring_stations_do_not_cover_each_other() -> None:
    latitude, longitude = _grid()
    stations = [("CRD", 42.5, -1.5), ("CDM", 42.5, -1.45), ("XYZ", 42.53, -1.47)]
    figure = maps.cell_map(latitude, longitude, latitude, title="t", label="l", stations=stations)
    style.as_svg(figure)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 3
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


@pytest.mark.parametrize("cells", [1, 2])
def test_maps_of_hardly_any_cells(cells: int) -> None:
    latitude, longitude = np.full(cells, 43.6), 0.875 + 0.25 * np.arange(cells)
    figure = maps.cell_map(latitude, longitude, np.ones(cells), title="t", label="l (1)")
    assert style.as_svg(figure).startswith(b"<?xml")


def test_cells_that_are_no_grid_are_drawn_as_points() -> None:
    latitude, longitude = np.array([43.1, 43.317, 44.8]), np.array([0.1, 0.913, 1.2])
    figure = maps.cell_map(latitude, longitude, np.array([1.0, 2.0, np.nan]), title="t", label="l (1)")
    assert style.as_svg(figure).startswith(b"<?xml")


def test_many_cells_become_an_image() -> None:
    latitude, longitude = np.meshgrid(0.25 * np.arange(60), 0.25 * np.arange(60), indexing="ij")
    figure = maps.cell_map(latitude.ravel(), longitude.ravel(), np.arange(3600.0), title="t", label="l (1)")
    svg = style.as_svg(figure)
    assert b"<image" in svg
    assert len(svg) < 200_000


def test_the_same_figure_has_the_same_bytes() -> None:
    def drawn() -> bytes:
        line = series.Line("open_loop", np.sin(np.arange(60.0)), 0)
        days = np.arange("2015-01-01", "2015-03-02", dtype="datetime64[D]")
        return style.as_svg(series.time_series(days, [line], None, title="t", label="LAI (m2 m-2)"))

    assert drawn() == drawn()


def test_a_year_of_days_says_which_year_it_is() -> None:
    days = np.arange("2008-01-02", "2009-01-01", dtype="datetime64[D]")
    line = series.Line("a", np.ones(len(days)), 0)
    figure = series.time_series(days, [line], None, title="t", label="l")
    style.as_svg(figure)
    axis = figure.axes[0].xaxis
    texts = [axis.get_offset_text().get_text(), *(label.get_text() for label in axis.get_ticklabels())]
    assert any("2008" in text for text in texts)
    assert not any("2009" in text for text in texts)


def test_lines_and_boxes_differ_in_more_than_colour() -> None:
    assert len({str(style.line(index)) for index in range(4)}) == 4
    assert len({style.hatch(index) for index in range(4)}) == 4
    assert len({style.colour(index) for index in range(4)}) == 4


def test_boxes_without_values_and_bars() -> None:
    groups = [series.Line("a", np.full((4, 12), np.nan), 0), series.Line("b", np.ones((4, 12)), 1)]
    assert series.boxes_by_month(groups, title="t", label="R").axes[0].get_ylabel() == "R"
    figure = series.boxes(
        [np.array([1.0, 2.0]), np.array([np.nan])],
        ["40", "5"],
        title="t",
        label="RMSD (dB)",
        x_label="neurons",
        bold="40",
        level=(0.33, "error"),
    )
    weights = {text.get_text(): text.get_fontweight() for text in figure.axes[0].get_xticklabels()}
    assert weights == {"40": "bold", "5": "normal"}
    bars = series.bars({"rain": {"a": 1.0, "b": 2.0}, "added": {"b": -1.0}}, title="t", label="kg m-2")
    assert bars.axes[0].get_xlabel() == "kg m-2"


def test_monthly_cycle_and_running_mean() -> None:
    days = np.arange("2015-01-01", "2017-01-01", dtype="datetime64[D]")
    month = days.astype("datetime64[M]").astype(int) % 12
    assert np.array_equal(monthly_cycle(days, month.astype(float)), np.arange(12.0))
    values = np.ones(100)
    values[50:] = np.nan
    smooth = running_mean(values, 10)
    assert (smooth[:50][np.isfinite(smooth[:50])] == 1.0).all()
    assert np.isnan(smooth[60:]).all()


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("ekf R", 0.8567, "0.86"),
        ("ekf dR", 0.05, "+0.050"),
        ("ekf dRMSD", -0.0912, "−0.0912"),
        ("N", 1296, "1\u202f296"),
        ("ekf RMSD", float("nan"), "–"),
        ("cells improved", 0.97, "97\u00a0%"),
        ("ekf dR", -0.0001, "0.000"),
        ("ekf dR", 0.0001, "0.000"),
        ("unit", "kg CO2 m-2 s-1", "kg\u00a0CO₂\u00a0m⁻²\u00a0s⁻¹"),
    ],
)
def test_cells_of_tables(column: str, value: object, text: str) -> None:
    import pandas as pd

    assert format_cell(column, value) == text
    assert Table("c", pd.DataFrame({column: [value]})).rows == [[text]]


@pytest.mark.parametrize("experiments", [2, 5, 9])
def test_a_legend_of_many_experiments_stays_inside_the_figure(experiments: int) -> None:
    lines = [series.Line(f"experiment {number}", np.ones((3, 12)), number) for number in range(experiments)]
    figure = series.boxes_by_month(lines, title="R per month", label="R")
    style.as_svg(figure)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == experiments
    box, whole = legend.get_window_extent(), figure.bbox
    assert box.y1 <= whole.y1
    assert box.x0 >= whole.x0
    one = series.boxes_by_month(lines[:1], title="R per month", label="R")
    heights = [item.axes[0].get_window_extent().height / item.dpi for item in (figure, one)]
    assert heights[0] == pytest.approx(heights[1])  # inches: the boxes stay as they are
