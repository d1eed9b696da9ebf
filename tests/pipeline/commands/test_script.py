"""The lines of docs/running.md, "From Python", as a script: no guard, worker processes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ldas.pipeline.store.arrays import array_hashes
from tests.helpers.program import program
from tests.helpers.small_store import write_experiment
from tests.support import REPOSITORY

PROCESSES = "execution: {cells_per_block: 1, cluster: {kind: local, processes: true, workers: 2}}"


def documented() -> str:
    """The lines."""
    text = (REPOSITORY / "docs" / "running.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"## From Python\n.*?```python\n(.*?)```", text, flags=re.DOTALL)
    return str(lines)


@pytest.mark.slow
def test_the_documented_lines_as_a_script_with_worker_processes(tmp_path: Path) -> None:
    for name in ("threads", "script"):
        (tmp_path / name).mkdir()
        write_experiment(tmp_path / name / "experiment.yaml")
    experiment = tmp_path / "script" / "experiment.yaml"
    text = experiment.read_text(encoding="utf-8").replace("execution: {cells_per_block: 1}", PROCESSES)
    assert PROCESSES in text
    experiment.write_text(text, encoding="utf-8")
    script = tmp_path / "script" / "script.py"
    script.write_text(
        documented() + "print(tree['runs/open_loop'].sizes['time'], __name__, __spec__)\n", encoding="utf-8"
    )
    done = subprocess.run([sys.executable, script], cwd=script.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4 __main__ None\n"  # run once, and as it was afterwards
    assert "Traceback" not in done.stderr
    assert program("run", str(tmp_path / "threads" / "experiment.yaml")) == 0
    runs = [array_hashes(str(tmp_path / name / "store"), "runs") for name in ("threads", "script")]
    assert runs[0] == runs[1]
