"""How every figure of a report looks: colours that keep their order in grey, sizes that can be read on a phone."""

import io
import re
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "ldas",  # the same figure has the same bytes
}


def styled(**changes: Any) -> AbstractContextManager[None]:
    """Matplotlib with the settings of the report, and changes to them (dots as double underscores)."""
    settings: Any = _SETTINGS | {name.replace("__", "."): value for name, value in changes.items()}
    return mpl.rc_context(settings)


SEQUENTIAL: Colormap = mpl.colormaps["viridis"]
OBSERVED = "#e69f00"
# Colours of Okabe and Ito (2008), told apart by people who see no red or no green; with the line styles and hatches
# beside them, by anybody on a grey print.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000")
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1.5, 1)), (0, (8, 2)), "-")
_HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++")


def colour(index: int) -> str:
    """Colour of the n-th experiment (0: the open loop)."""
    return _COLOURS[index % len(_COLOURS)]


def line(index: int) -> Any:
    """Line style of the n-th experiment."""
    return _LINES[index % len(_LINES)]


def hatch(index: int) -> str:
    """Hatch of the n-th experiment's boxes and bars."""
    return _HATCHES[index % len(_HATCHES)]


def _diverging() -> Colormap:
    """Blue to red through near white, with lightness (CIE L*) falling evenly from the middle to both ends."""
    half = 128
    steps = np.linspace(0.0, 1.0, half)
    lightness = 96.0 - 58.0 * steps
    chroma = 48.0 * np.sin(0.5 * np.pi * steps)  # grows fast at first, so that the sign shows near the middle
    arms = [_srgb(lightness, chroma, np.deg2rad(angle)) for angle in (262.0, 38.0)]
    return ListedColormap(np.concatenate([arms[0][::-1], arms[1]]), name="ldas_diverging")


def _srgb(lightness: np.ndarray, chroma: np.ndarray, hue: float) -> np.ndarray:
    """CIE L*C*h (D65) to sRGB, clipped to what a screen can show."""
    fy = (lightness + 16.0) / 116.0
    f = np.stack([fy + chroma * np.cos(hue) / 500.0, fy, fy - chroma * np.sin(hue) / 200.0], axis=-1)
    xyz = np.where(f > 6.0 / 29.0, f**3, (f - 16.0 / 116.0) * 3.0 * (6.0 / 29.0) ** 2)
    xyz = xyz * np.array([0.95047, 1.0, 1.08883])
    matrix = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    linear = np.clip(xyz @ matrix.T, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


DIVERGING: Colormap = _diverging()


def new_figure(width: float = 4.6, height: float = 3.7, left: float = 0.72) -> Figure:
    """An empty figure of that size in inches, without any window behind it, to be made and drawn on inside `styled`.

    Args:
        left: margin in inches.
    """
    figure = Figure(figsize=(width, height))
    # Margins of fixed size: working them out from the text takes as long as all the rest of the drawing.
    figure.subplots_adjust(left=left / width, right=1 - 0.15 / width, bottom=0.5 / height, top=1 - 0.32 / height)
    return figure


# A page has dozens of pictures: what no eye sees in them is left out. Two decimals of a point are enough for a path;
# transformations keep theirs.
_DIGITS = re.compile(rb"(?<=[ML ])(-?\d+\.\d{2})\d+(?= )")
_SPACE = re.compile(rb"\s*\n\s*")


def as_svg(figure: Figure) -> bytes:
    """The figure as SVG, without date: the same figure has the same bytes."""
    file = io.BytesIO()
    with styled():
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})
    return _DIGITS.sub(rb"\1", _SPACE.sub(b" ", file.getvalue()).rstrip())


def as_data_uri(svg: bytes) -> str:
    """SVG as the address of an image that is part of the page."""
    return "data:image/svg+xml," + quote(svg, safe=" !$()*+,-./:;=?@[]^_`{|}~")  # a quarter smaller than in base64
