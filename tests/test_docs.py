"""The documentation builds without a warning, and its generated parts are up to date."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ldas.pipeline.settings.experiment import ExperimentConfig, json_schema, load_experiment
from ldas.pipeline.settings.yaml_file import validate
from tests.support import REPOSITORY


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
    assert "execution.cells_per_block" in (tmp_path / "site" / "configuration" / "index.html").read_text("utf-8")
    assert (tmp_path / "site" / "experiment.schema.json").read_text("utf-8") == json_schema()
    assert "leaf area index" in (tmp_path / "site" / "variables" / "index.html").read_text("utf-8")


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
