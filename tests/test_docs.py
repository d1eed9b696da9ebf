"""The documentation builds without a warning, and its generated parts are up to date."""

import os
import subprocess
import sys
from pathlib import Path

from pipeline.config import json_schema
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


def test_no_file_names_a_registry_or_this_workplace() -> None:
    for path in (REPOSITORY / "requirements").iterdir():
        text = path.read_text(encoding="utf-8")
        assert "index-url" not in text
        assert "find-links" not in text
        assert "https://" not in text
