"""The page of `ldas explore` in a real browser, where there is one; and without one what a click does."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from ldas.pipeline.store.location import Location

for _package in ("panel", "holoviews", "datashader"):
    pytest.importorskip(_package, reason="the page needs the extra `explore`")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# The values of all lines of the page, and whether the browser has drawn all that it was told.
LINES = """() => Bokeh.documents.flatMap(document => [...document._all_models.values()])
  .filter(model => model.type == "GlyphRenderer" && model.glyph.type == "Line")
  .map(model => Array.from(model.data_source.get_column(model.glyph.y.field)))"""
IDLE = "() => window.Bokeh && Bokeh.documents.length && Bokeh.documents.every(document => document.is_idle)"


@pytest.fixture(scope="module")
def address(explored: Path) -> Iterator[str]:
    """A server of the store, in a thread."""
    from ldas.pipeline.commands.explore import make_server

    started: Future[Any] = Future()

    def serve() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        try:
            server = make_server(Location(str(explored)), host="127.0.0.1", port=0)
        except BaseException as error:
            started.set_exception(error)
            return
        server.start()
        started.set_result(server)
        server.io_loop.start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    server = started.result(60)
    yield f"http://127.0.0.1:{server.port}/"
    server.io_loop.add_callback(server.io_loop.stop)
    thread.join(20)


def test_nothing_of_the_page_comes_from_elsewhere(address: str) -> None:
    with urlopen(address) as answer:
        text = answer.read().decode()
    assert [part for part in ("cdn.", "googleapis", "unpkg", "jsdelivr") if part in text] == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium of this machine."""
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


def test_the_map_is_drawn_a_click_changes_the_series_and_all_fits_a_phone(address: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None if address in request.url or request.url[:5] in ("data:", "blob:") else wrong.append(request.url)
        ),
    )
    page.goto(address + "?experiment=runs/EKF&variable=LAI&day=2007-06-04&cell=1&minus=runs/no")
    page.wait_for_selector("text=minus 'runs/no' is not stored in the store; there are: runs/open_loop")
    page.wait_for_function(f"() => ({IDLE})() && ({LINES})().length >= 3", polling=100)
    lines = np.array(page.evaluate(LINES)[:3])
    np.testing.assert_allclose(lines[:, 0], [0.1, 1000.1, 1000.35], rtol=1e-5)
    image = page.evaluate(
        """() => [...Bokeh.documents[0]._all_models.values()].filter(model => model.type == "GlyphRenderer"
        && model.glyph.type == "Image").map(model => Array.from(model.data_source.get_column("image")[0]))[0]"""
    )
    np.testing.assert_allclose(image, 1003.0 + 0.1 * np.arange(6), rtol=1e-6)
    frame = page.evaluate(
        """() => { const view = Object.values(Bokeh.index).flatMap(root => [...root.child_views ?? []]);
        const find = views => { for (const one of views) { if (one.model.type == "Figure") return one;
        const inside = find([...one.child_views ?? []]); if (inside) return inside } };
        const figure = find(Object.values(Bokeh.index)); const frame = figure.frame.bbox;
        const box = figure.el.getBoundingClientRect();
        return [box.x + frame.x, box.y + frame.y, frame.width, frame.height] }"""
    )
    x, y, width, height = frame
    page.mouse.click(x + width * 5 / 6, y + height / 4)  # the cell in the north-east
    page.wait_for_function(f"() => Math.abs(({LINES})()[0][0] - 0.5) < 1e-6", polling=100)
    np.testing.assert_allclose(np.array(page.evaluate(LINES)[:3])[:, 0], [0.5, 1000.5, 1000.75], rtol=1e-5)
    page.wait_for_url("**&cell=5")
    assert page.locator("text=Cell 5").count() == 1
    assert page.locator("text=SYNTHETIC").count() == 1
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function(IDLE, polling=100)
    widths = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1]  # nothing to scroll sideways on a phone
    assert wrong == []
    page.close()
