"""The page of `ldas explore` in Chromium, and the same pictures made with xarray and hvPlot as in a notebook."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
CLICKS = ((0.2, 0.2), (0.8, 0.3), (0.5, 0.5), (0.3, 0.8), (0.7, 0.7))  # parts of the map's frame

_RENDERERS = """Bokeh.documents.flatMap(document => [...document._all_models.values()])
  .filter(model => model.type == "GlyphRenderer")"""
_HAS = "(kind => %s.some(one => one.glyph.type == kind))" % _RENDERERS  # noqa: UP031 (braces of JavaScript)
_DRAWN = "window.Bokeh && Bokeh.documents.length > 0 && Bokeh.documents.every(document => document.is_idle)"
# Sums of the values of the lines: those of another cell differ.
_LINES = """() => %s.filter(one => one.glyph.type == "Line").map(one => Array.from(
  one.data_source.get_column(one.glyph.y.field)).reduce((sum, value) => isFinite(value) ? sum + value : sum, 0))"""
_LINES = _LINES % _RENDERERS
_FRAME = """() => { const find = views => { for (const one of views) { if (one.model.type == "Figure") return one;
  const inside = find([...one.child_views ?? []]); if (inside) return inside } };
  const figure = find(Object.values(Bokeh.index)), box = figure.el.getBoundingClientRect(), frame = figure.frame.bbox;
  return [box.x + frame.x, box.y + frame.y, frame.width, frame.height] }"""
_NOTEBOOK = """
import json, sys, time
import hvplot.xarray, holoviews as hv, xarray as xr
from bokeh.embed import json_item
hv.extension("bokeh")
store = sys.argv[1]

def plot(element):
    return json.dumps(json_item(hv.render(element)))

def picture():
    runs = {name: xr.open_zarr(store, group=f"runs/{name}", consolidated=False) for name in ("open_loop", "EKF")}
    land = xr.open_zarr(store, group="land", consolidated=False)
    shown = runs["EKF"]["LAI"].isel(time=-1).assign_coords(latitude=land.latitude, longitude=land.longitude)
    grid = shown.load().set_index(cell=["latitude", "longitude"]).unstack("cell")
    return runs, plot(grid.hvplot.image(x="longitude", y="latitude", cmap="viridis"))

def click(runs, cell):
    lines = [run["LAI"].isel(cell=cell).hvplot.line(x="time", label=name) for name, run in runs.items()]
    lines.append(runs["EKF"]["LAI_forecast"].isel(cell=cell).hvplot.line(x="time", label="forecast"))
    drawn = hv.Overlay(lines) + runs["EKF"]["increment_LAI"].isel(cell=cell).hvplot.line(x="time")
    return plot(drawn.cols(1))

runs = None
print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    if line.startswith("picture"):
        runs, item = picture()
    else:
        item = click(runs, int(line))
    print(json.dumps([time.perf_counter() - start, item]), flush=True)
"""


def peak_mb(process: int) -> float:
    """The most memory that a process has had, MB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)


def measured(store: Path, chromium: str, repeat: int) -> dict[str, Any]:
    """Figures of the page, and below `notebook` those of xarray and hvPlot."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            return {**_page(store, browser, repeat), "notebook": _notebook(store, browser, repeat)}
        finally:
            browser.close()


def _page(store: Path, browser: Any, repeat: int) -> dict[str, float]:
    command = [sys.executable, "-m", "ldas.pipeline.program", "explore", str(store), "--port", "0", "--no-browser"]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            link = next(word for word in server.stdout.readline().split() if word.startswith("http"))
            found: dict[str, float] = {"server_start_s": round(time.perf_counter() - begin, 3)}
            pictures, clicks = [], []
            for _ in range(repeat):
                page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
                begin = time.perf_counter()
                page.goto(link, wait_until="commit")
                page.wait_for_function(f"() => {_DRAWN} && {_HAS}('Image')", polling=10)
                pictures.append(time.perf_counter() - begin)
                print(f"  first picture {pictures[-1]:.2f} s", flush=True)
                page.wait_for_function(f"() => {_DRAWN} && {_HAS}('Line')", polling=10)
                page.wait_for_timeout(1000)
                clicks += [_click(page, place) for place in CLICKS]
                page.context.close()
            print(f"  clicks {', '.join(f'{one:.2f}' for one in clicks)} s", flush=True)
            found["first_picture_s"] = round(statistics.median(pictures), 3)
            found["click_s"] = round(statistics.median(clicks), 3)
            found["click_longest_s"] = round(max(clicks), 3)
            found["peak_mb"] = peak_mb(server.pid)
            return found
        finally:
            server.terminate()


def _click(page: Any, place: tuple[float, float]) -> float:
    """Seconds from a click on the map to the series of that cell."""
    before = page.evaluate(_LINES)
    x, y, width, height = page.evaluate(_FRAME)
    begin = time.perf_counter()
    page.mouse.click(x + place[0] * width, y + place[1] * height)
    changed = f"before => {_DRAWN} && ({_LINES})().every((value, number) => value != before[number])"
    page.wait_for_function(changed, arg=before, polling=10)
    seconds = time.perf_counter() - begin
    page.wait_for_timeout(500)
    return seconds


def _notebook(store: Path, browser: Any, repeat: int) -> dict[str, float]:
    """The time of a cell of a notebook: until its output is drawn, its libraries imported and Bokeh in the browser."""
    from bokeh.resources import INLINE

    command = [sys.executable, "-c", _NOTEBOOK, str(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as kernel:
        assert kernel.stdout is not None
        assert kernel.stdin is not None
        kernel.stdout.readline()
        found: dict[str, list[float]] = {"picture": [], "click": []}
        for number in range(repeat):
            page = browser.new_page()
            page.set_content(f"<html><head>{INLINE.render()}</head><body><div id='out'></div></body></html>")
            page.wait_for_function("() => window.Bokeh")
            for what, request, kind in (("picture", "picture", "Image"), ("click", str(777 * (number + 1)), "Line")):
                kernel.stdin.write(f"{request}\n")
                kernel.stdin.flush()
                seconds, item = json.loads(kernel.stdout.readline())
                begin = time.perf_counter()
                page.evaluate("item => { Bokeh.embed.embed_item(JSON.parse(item), 'out') }", item)
                page.wait_for_function(f"() => {_DRAWN} && {_HAS}('{kind}')", polling=10)
                found[what].append(seconds + time.perf_counter() - begin)
            page.close()
        result = {
            "first_picture_s": round(statistics.median(found["picture"]), 3),
            "click_s": round(statistics.median(found["click"]), 3),
            "peak_mb": peak_mb(kernel.pid),
        }
        kernel.stdin.close()
    print(f"  xarray and hvPlot: {result}", flush=True)
    return result
