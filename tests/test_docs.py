"""The documentation builds without a warning, and its generated parts are up to date."""

import ast
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ldas.landmodel import quantities
from ldas.pipeline.settings.experiment import ExperimentConfig, json_schema, load_experiment
from ldas.pipeline.settings.yaml_file import validate
from tests.support import REPOSITORY

FOLDERS = ("landmodel", "operators", "assim", "pipeline")


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.parent.name for path in (tmp_path / "site").rglob("index.html")}
    assert {"running", "store", "architecture", "configuration", "variables", "landmodel", "pipeline"} <= pages
    assert {"evaluation", "report", "ingest", "twin", "getting_started", "glossary"} <= pages
    assert {"gallery", "demo", "hawaii", "own_region"} <= pages  # that every page is in `nav` is part of --strict
    assert "execution.cells_per_block" in (tmp_path / "site" / "configuration" / "index.html").read_text("utf-8")
    assert (tmp_path / "site" / "experiment.schema.json").read_text("utf-8") == json_schema()
    assert "leaf area index" in (tmp_path / "site" / "variables" / "index.html").read_text("utf-8")
    soil = (tmp_path / "site" / "science" / "soil_water" / "index.html").read_text("utf-8")
    assert '<span class="formula"><svg role="img" aria-label="w, w_i" ' in soil
    assert '<h2 id="section-6">' in soil
    demo = (tmp_path / "site" / "tutorials" / "demo" / "index.html").read_text("utf-8")
    assert demo.count('<img alt="what the code above draws" src="demo_') == len(
        list((tmp_path / "site" / "tutorials" / "demo").glob("*.png"))
    )
    assert 'href="demo.ipynb"' in demo
    tags = r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//"
    elsewhere = re.compile(tags + r"|url\([\"']?https?:")
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text("utf-8")
        assert "arithmatex" not in text
        assert elsewhere.search(text) is None, page
    for sheet in (tmp_path / "site").rglob("*.css"):
        assert elsewhere.search(sheet.read_text("utf-8")) is None, sheet


@pytest.mark.parametrize("page", ["README.md", "docs/configuration.md"])
def test_experiments_shown_in_the_documentation_are_valid(page: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    experiments = [content for block in blocks if "name" in (content := yaml.safe_load(block))]
    assert experiments
    for content in experiments:
        validate(content, ExperimentConfig, source=page)


@pytest.mark.parametrize(
    "path",
    [p for p in sorted((REPOSITORY / "examples").glob("*.yaml")) if "\nstore:" in p.read_text("utf-8")],
    ids=lambda path: path.name,
)
def test_examples_are_valid(path: Path) -> None:
    load_experiment(path)


def test_no_file_names_a_registry_or_this_workplace() -> None:
    for path in (REPOSITORY / "requirements").iterdir():
        text = path.read_text(encoding="utf-8")
        assert "index-url" not in text
        assert "find-links" not in text
        assert "https://" not in text


def test_every_situation_is_held_by_a_test_that_is_there() -> None:
    text = (REPOSITORY / "docs" / "situations.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| situation")]
    named = [re.findall(r"`([\w/]+\.py)`", row.rsplit("|", 2)[1]) for row in rows]
    assert len(rows) > 25
    assert all(named)
    assert [name for names in named for name in names if not (REPOSITORY / "tests" / name).is_file()] == []


SCIENCE = sorted((REPOSITORY / "docs" / "science").glob("*.md"))
WRITTEN = [
    path
    for folder in ("assim", "benchmarks", "docs", "examples", "landmodel", "operators", "pipeline", "tests")
    for path in sorted((REPOSITORY / folder).rglob("*"))
    if path.suffix in {".csv", ".md", ".py", ".yaml"} and path != Path(__file__)
]
"""Files in which somebody may cite a document."""


@pytest.mark.parametrize("page", SCIENCE, ids=lambda path: path.stem)
def test_sections_of_the_science_notes_are_numbered_and_can_be_linked(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^##+ .*$", text, flags=re.MULTILINE)
    assert headings
    for number, heading in enumerate(headings, start=1):
        assert re.fullmatch(rf"## {number}\. .* \{{#section-{number}\}}", heading), heading
    assert page.stem == "index" or f"({page.name})" in (page.parent / "index.md").read_text(encoding="utf-8")


def test_every_cited_section_of_the_science_notes_is_there() -> None:
    sections = {page.stem: page.read_text(encoding="utf-8").count("{#section-") for page in SCIENCE}
    cited: list[tuple[str, int]] = []
    for path in WRITTEN:
        # a citation may be broken over lines, with quotes or the sign of a comment between
        text = re.sub(r"\s*\n[\s#]*", " ", path.read_text(encoding="utf-8"))
        for page, numbers in re.findall(r"docs/science/(\w+)\.md,? sections? (\d+(?:(?:, | and | to )\d+)*)", text):
            cited += [(page, int(number)) for number in re.findall(r"\d+", numbers)]
        bare = re.findall(r"docs/science/\w+\.md(?!,? sections? \d)", text)
        assert bare == [], f"{path}: a citation without its section"
    assert len(cited) > 80
    assert [(page, number) for page, number in cited if not 1 <= number <= sections.get(page, 0)] == []


def test_no_document_is_cited_that_is_not_in_the_repository() -> None:
    made_by_programs = {"report.md", "page.md"}
    offenders = []
    for path in WRITTEN:
        text = path.read_text(encoding="utf-8")
        offenders += re.findall(r"(?<![\w/])\w+\.md,? (?:sections? )?\d[\d.]*", text)
        for name in re.findall(r"[\w./-]*\w\.md\b", text):
            places = (REPOSITORY / name, path.parent / name, REPOSITORY / "docs" / name)
            if name not in made_by_programs and not any(place.is_file() for place in places):
                offenders.append(f"{path.relative_to(REPOSITORY)}: {name}")
    assert offenders == []


def test_every_process_is_in_the_science_notes() -> None:
    notes = "".join(page.read_text(encoding="utf-8") for page in SCIENCE)
    processes = [path for path in (REPOSITORY / "landmodel").rglob("*.py") if "\n@science\n" in path.read_text("utf-8")]
    assert len(processes) > 20
    assert [path.name for path in processes if f"`{path.name}`" not in notes] == []


def test_units_in_the_science_notes_are_those_of_the_table_of_quantities() -> None:
    units: dict[str, set[str]] = {}
    for table, entries in vars(quantities).items():
        if table.isupper() and isinstance(entries, tuple):
            for quantity in entries:
                units.setdefault(quantity.name, set()).add(quantity.unit)
    compared, wrong = 0, []
    for page in SCIENCE:
        header: list[str] = []
        for line in page.read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not line.startswith("|"):
                header = []
            elif "unit" in cells and "code" in cells:
                header = cells
            elif len(cells) == len(header):
                row = dict(zip(header, cells, strict=True))
                for name in set(re.findall(r"`(\w+)`", row["code"])) & set(units):
                    compared += 1
                    stated = [rf"(?<![\w-]){re.escape(unit)}(?![\w-])" for unit in units[name]]
                    if not any(re.search(unit, row["unit"]) for unit in stated):
                        wrong.append(f"{page.name}: {name} in {row['unit']}, not {units[name]}")
    assert compared > 70
    assert wrong == []


def test_files_named_in_the_science_notes_are_there() -> None:
    named = re.findall(
        r"`((?:assim|operators|pipeline|tests|examples|landmodel)/[\w/.]*)`", "".join(map(Path.read_text, SCIENCE))
    )
    assert len(named) > 15
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_names_in_the_science_notes_are_those_of_the_code() -> None:
    code = "".join(path.read_text("utf-8") for path in WRITTEN if path.suffix in {".py", ".csv"})
    words = set(re.findall(r"\w+", code))
    missing = []
    for page in SCIENCE:
        for name in re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+)+(?:\.[a-z_]+)?)`", page.read_text(encoding="utf-8")):
            missing += [f"{page.name}: {name}" for part in name.split(".") if part not in {*words, "py", "F90"}]
    assert missing == []


def test_files_named_in_the_documentation_are_there() -> None:
    folders = "landmodel|operators|assim|pipeline|tests|benchmarks|examples|docs|deploy"
    named = re.compile(rf"`((?:{folders})/[\w/.]+\.(?:py|yaml|csv|sh))")
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "deploy").glob("*.md")]
    pages.remove(REPOSITORY / "docs" / "situations.md")  # it names tests below tests/, see above
    found = [(page.name, name) for page in pages for name in named.findall(page.read_text(encoding="utf-8"))]
    assert len(found) > 40
    assert [(page, name) for page, name in found if not (REPOSITORY / name).is_file()] == []


def test_modules_named_in_the_documentation_without_their_folder_are_there() -> None:
    folders = ("assim", "benchmarks", "docs", "examples", "landmodel", "operators", "pipeline", "tests")
    there = {path.name for folder in folders for path in (REPOSITORY / folder).rglob("*.py")}
    of_users = {"pipeline.py", "operators.py"}  # architecture.md: files of that name do no harm
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "deploy").glob("*.md")]
    found = [(page.name, name) for page in pages for name in re.findall(r"`(\w+\.py)`", page.read_text("utf-8"))]
    assert len(found) > 20
    assert [(page, name) for page, name in found if name not in there | of_users] == []


def test_docstrings_speak_one_dialect() -> None:
    """That of Google: no fields of Sphinx, no errors in prose behind other text, and arguments that there are."""
    found = []
    for path in (path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            text = ast.get_docstring(node) or ""
            if re.search(r"^\s*:\w+.*:|(?<=[.\n] )Raises `?[A-Z]\w+Error|\nRaises `?[A-Z]", text, flags=re.MULTILINE):
                found.append(f"{path}:{node.lineno}: fields or errors in prose")
            if isinstance(node, ast.ClassDef):
                continue
            given = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
            section = re.search(r"^Args:\n((?:    .*\n?)+)", text, flags=re.MULTILINE)
            for names in re.findall(
                r"^    ([\w, ]+?)(?: \(.*?\))?:", section[1] if section else "", flags=re.MULTILINE
            ):
                missing = set(names.split(", ")) - given
                found += [f"{path}:{node.lineno}: no argument {', '.join(missing)}"] if missing else []
    assert found == []


@pytest.mark.parametrize("picture", ["rooms", "conformance"])
def test_pictures_of_what_changes_are_up_to_date(tmp_path: Path, picture: str) -> None:
    made = tmp_path / f"{picture}.svg"
    runpy.run_path(str(REPOSITORY / "docs" / "make_pictures.py"))[picture](made)
    stored = (REPOSITORY / "docs" / "images" / made.name).read_text("utf-8")
    assert made.read_text("utf-8") == stored, "run python docs/make_pictures.py"
