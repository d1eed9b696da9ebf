"""The benchmark of the evaluation, small: it runs and says what docs/evaluation.md quotes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY


@pytest.mark.long
def test_the_benchmark_runs(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "evaluation.py"), "--cells", "4", "12", "--days", "60"]
    done = subprocess.run([*command, "--json", str(out)], cwd=REPOSITORY, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert [row["cells"] for row in figures["rows"]] == [4, 12]
    assert all(row["seconds"] > 0 and row["peak_memory_mb"] > 50 for row in figures["rows"])
