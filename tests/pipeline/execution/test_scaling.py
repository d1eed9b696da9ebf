"""The benchmark of scaling, small: a campaign keeps within its window and does all of its tasks."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support import REPOSITORY


def test_a_campaign_keeps_within_its_window(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    script = [sys.executable, str(REPOSITORY / "benchmarks" / "scaling.py"), "--parts", "campaign"]
    command = [*script, "--campaign-blocks", "40", "--json", str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(out.read_text(encoding="utf-8"))["campaign"]
    assert figures["tasks"] == 40
    assert 1 < figures["most_in_flight"] <= figures["window"]
    assert figures["memory_before_mb"] <= figures["highest_memory_mb"] < 1000
