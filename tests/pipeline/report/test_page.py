"""The page: its structure and assets, hostile text, a real browser where one is installed."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ldas.pipeline.errors import PipelineError, StoreError
from ldas.pipeline.evaluation.errors import EvaluationError
from ldas.pipeline.report import Report, write_report
from ldas.pipeline.store import ledger, opening
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.groups import write_group
from tests.pipeline.evaluation.synthetic_store import Synthetic, make_store

SMALL = Synthetic(rows=3, columns=3, days=150, open_loop_days_before=100, cells_per_block=9)
opened_stores: list[tuple[Path, bool]] = []  # stores that the report opened, and whether for reading only
HOSTILE = "<script>alert(1)</script>"


class _Page(HTMLParser):
    """What the tests look at: tags with their attributes, and the text of the sentences."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unclosed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a beginning"
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic twin with hostile text where a store may have text."""
    path = make_store(tmp_path_factory.mktemp("page"), replace(SMALL, truth=True))
    root = open_store(path, "a")
    architectures = xr.Dataset({"training_rmsd": (("architecture", "cell"), np.full((2, 8), [[0.4], [0.3]]))})
    root["ledger/ekf"].attrs.update({"seconds": 90.5, "task_seconds": 180.5})
    labels = {"labels": ["5", "40"], "chosen": "40"}
    write_group(root, "scores/architectures_sigma40", architectures, attributes=labels)
    root["insitu/SYNTHETIC/code"].attrs["labels"] = [HOSTILE, "BBB", "CCC", "FAR"]
    return path


@pytest.fixture(scope="module")
def report(store: Path) -> Report:
    """Its report; what it opened is in opened_stores."""

    class Counted(opening.FolderStore):
        def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
            opened_stores.append((Path(root), read_only))
            super().__init__(root, read_only=read_only)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(opening, "FolderStore", Counted)
        return write_report(store, json_path=store.parent / "numbers.json", markdown=True)


@pytest.fixture(scope="module")
def page(report: Report) -> _Page:
    """The page, parsed; every tag is closed."""
    parsed = _Page(report.page.read_text(encoding="utf-8"))
    assert parsed.open == []
    return parsed


def test_the_page_is_beside_the_store(store: Path, report: Report) -> None:
    assert report.page == store.parent / "synthetic_report" / "index.html"


def test_a_report_opens_its_store_once_to_read_and_once_to_write(store: Path, report: Report) -> None:
    assert report.page.exists()
    assert opened_stores == [(store, True), (store, False)]


def test_nothing_is_loaded_from_elsewhere(report: Report, page: _Page) -> None:
    text = report.page.read_text(encoding="utf-8")
    before_scripts, scripts = text.split('<script type="application/json"', 1)
    outside_images = re.sub(r"data:image/svg\+xml,[^\"]+", "data:", before_scripts)
    assert not re.search(r"(src|href)=\"(?!data:|#)", outside_images)
    assert "url(" not in outside_images
    assert page.all("link") == []
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")
    run = re.findall(r"<script>(.*?)</script>", scripts, flags=re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in run]
    assert policy.endswith("script-src " + " ".join(f"'sha256-{one}'" for one in hashes))
    assert len(run) == 2  # BokehJS, once, and what fills its plots
    assert len(page.all("script")) == 4
    assert all("src" not in one for one in page.all("script"))
    assert len(text) < 10_000_000


def test_every_picture_is_whole_has_words_and_loads_nothing(page: _Page) -> None:
    images = page.all("img")
    assert len(images) > 15
    for image in images:
        assert image["alt"]
        source = image["src"]
        assert source is not None
        svg = unquote(source.removeprefix("data:image/svg+xml,"))
        assert svg.rstrip().endswith("</svg>")
        links = re.findall(r"(?:href|src)=\"([^\"]+)\"", svg)
        assert all(link.startswith(("#", "data:")) for link in links)


def test_the_sections_of_the_paper_are_there_with_their_anchors(report: Report, page: _Page) -> None:
    keys = [section["id"] for section in page.all("section")]
    assert keys == [
        "answer",
        "interactive",
        "overview",
        "domain",
        "backscatter",
        "leaf-area-index",
        "soil-moisture",
        "stations",
        "truth",
        "operator",
        "analysis",
        "consistency",
        "water",
        "run",
    ]
    assert [link["href"] for link in page.all("a")] == [f"#{key}" for key in keys[1:]]
    text = report.page.read_text(encoding="utf-8")
    for number in ("1", "2", "3", "4", "5a", "5b", "6a", "6b", "7", "8a", "8b", "9"):
        assert f"Figure {number}." in text, number
    for words in (
        "cell-days by quality code",
        "Data volumes",
        "The tasks of all stages took 180\u00a0s",
        "Configuration and provenance of ekf",
    ):
        assert words in text
    for section in re.split(r"<section id", text)[1:]:
        assert 'class="sentence"' in section, section[:80]  # every section says in words what its numbers say


def test_the_first_screen_answers_for_every_variable(report: Report) -> None:
    text = report.page.read_text(encoding="utf-8").split("<nav")[0]
    assert "Assimilating backscatter (“ekf”) changed the error of 24 h forecasts of " in text
    assert text.count('class="verdict ') == 3
    assert text.count("too few months for an interval") == 3
    assert text.count("<p>better in 8 of 8 cells") == 3
    assert "in 5 of 5 months; the best was " in text


def test_it_says_that_the_data_are_synthetic(report: Report) -> None:
    for text in (report.page.read_text(encoding="utf-8"), report.markdown):
        assert "synthetic: made by the software" in text
        assert "made for tests" in text  # the description of the experiment


def test_text_of_the_store_cannot_become_markup(report: Report) -> None:
    text = report.page.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
    assert "\\u003cscript>alert(1)" in text  # the station's name among the numbers of the interactive part
    for match in re.finditer(r"data:image/svg\+xml,([^\"]+)", text):
        assert "<script" not in unquote(match[1])


def test_tables_are_csv_with_all_digits(report: Report) -> None:
    names = {path.name for path in report.tables}
    assert {"table3_backscatter.csv", "table4_leaf_area_index.csv", "stations.csv", "quality_codes.csv"} <= names
    table = pd.read_csv(next(path for path in report.tables if path.name == "table3_backscatter.csv"))
    assert (table["ekf dRMSD"] < 0).all()


def test_json_has_the_keys_that_the_demo_is_judged_by(store: Path, report: Report) -> None:
    numbers = json.loads((store.parent / "numbers.json").read_text(encoding="utf-8"))
    assert numbers == report.numbers
    for key in ("sigma40_rmsd_improved_fraction", "lai_rmsd_improved_fraction", "ssm_r_improved_fraction"):
        assert 0.0 <= numbers["summary"]["ekf"][key] <= 1.0
    assert len(numbers["tables"]["sigma40"]) == 4
    assert numbers["run_time_s"] == {"ekf": 90.5}
    assert numbers["status"]["ekf"]["done"] == 2 * 8
    assert numbers["stored_mb"]["runs"] > 0.0
    assert numbers["quality"]["ekf"]["sigma40"]["masked_frozen"] == 20 * 8


def test_markdown_for_a_terminal(report: Report) -> None:
    assert report.markdown == (report.page.parent / "report.md").read_text(encoding="utf-8")
    lines = report.markdown.splitlines()
    assert lines[0].startswith("# ")
    start = next(index for index, line in enumerate(lines) if line.startswith("| station"))
    rows = lines[start : start + 5]
    assert len({len(row) for row in rows}) == 1  # columns are aligned
    assert "data:image" not in report.markdown


def test_a_run_without_anything_around_it(tmp_path: Path) -> None:
    bare = replace(
        SMALL,
        rows=1,
        columns=1,
        operator=False,
        stations=False,
        forcing=False,
        second_experiment=False,
        incomplete=True,
    )
    path = make_store(tmp_path, bare)
    ledger.set_failures(open_store(path, "a"), "ekf", {0: "the disk is full"}, str(path))
    report = write_report(path, out=tmp_path / "here")
    assert report.page == tmp_path / "here" / "index.html"
    text = report.page.read_text(encoding="utf-8")
    assert "One cell at 42.12 degrees north" in text
    assert "incomplete" in text
    assert "ekf, block 0: the disk is full" in text
    alone = write_report(path, out=tmp_path / "alone", experiments=["open_loop"])
    assert list(alone.numbers["experiments"]) == ["open_loop"]
    assert "ekf" not in alone.markdown.split("## The run")[0]
    _Page(text)


def test_no_store_no_run_no_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        write_report(tmp_path / "nothing.zarr")
    open_store(tmp_path / "empty.zarr", "a")
    with pytest.raises(EvaluationError, match="no run"):
        write_report(tmp_path / "empty.zarr")
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(PipelineError, match="file: not a folder"):
        write_report(tmp_path / "empty.zarr", out=tmp_path / "file")


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HARNESS = """<!DOCTYPE html><title>measuring</title><iframe style="width:{width}px;height:900px;border:0"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.onload = async () => {{
  const drawn = () => frame.contentWindow.Bokeh?.documents ?? [];
  const ready = () => drawn().length === 2 && drawn()[1].get_model_by_name("chosen").data.x.length === 1;
  for (let wait = 0; wait < 100 && !ready(); wait++) await new Promise((resolve) => setTimeout(resolve, 50));
  const [series, map] = drawn();
  const observed = (model) => model.get_model_by_name("line ekf").data.y.filter(Number.isFinite).length;
  const asked = frame.contentDocument.querySelector("#interactive-variable");
  asked.value = 1;
  asked.dispatchEvent(new Event("change"));
  map.get_model_by_name("cells").selected.indices = [4];
  const inside = frame.contentDocument, root = inside.documentElement;
  const images = [...inside.images];
  document.title = JSON.stringify({{
    overflow: root.scrollWidth - root.clientWidth,
    broken: images.filter(image => !image.complete || image.naturalWidth === 0).length,
    images: images.length,
    title: series.get_model_by_name("plot").title.text,
    map: map.get_model_by_name("plot").title.text,
    text: map.get_model_by_name("cells").data.text[4],
    days: observed(series),
    narrow: [...inside.querySelectorAll("p.sentence")].every(p => p.getBoundingClientRect().right <= {width}),
  }});
  document.body.append(document.title);
}};
frame.srcdoc = new TextDecoder().decode(Uint8Array.from(atob("{page}"), c => c.charCodeAt(0)));
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 375])
def test_in_a_browser_every_picture_shows_and_nothing_sticks_out(report: Report, tmp_path: Path, width: int) -> None:
    harness = tmp_path / "harness.html"
    encoded = base64.b64encode(report.page.read_bytes()).decode("ascii")
    harness.write_text(HARNESS.format(width=width, page=encoded), encoding="utf-8")
    command = [
        str(BROWSER),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--virtual-time-budget=10000", "--dump-dom", harness.as_uri()),
    ]
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)
    found = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert found, done.stderr[-2000:]
    measured = json.loads(found[1])
    assert measured["images"] > 15
    assert measured["broken"] == 0
    assert measured["overflow"] <= 0
    assert measured["narrow"] is True
    assert measured["title"] == "Leaf area index at BBB (42.375N 1.625W)"  # of the cell that was clicked
    assert measured["map"] == "Leaf area index: error removed by ekf (%)"
    assert re.fullmatch(r"error removed by ekf: \d\d(\.\d)? %", measured["text"])
    assert measured["days"] == 150
