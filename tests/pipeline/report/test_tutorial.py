"""The tutorial runs as it stands, on a small synthetic store."""

import re
from pathlib import Path

import pytest

from tests.pipeline.evaluation.synthetic_store import Synthetic, make_store
from tests.support import REPOSITORY


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small = Synthetic(rows=2, columns=3, days=120, open_loop_days_before=60, forcing=False, cells_per_block=6)
    made = make_store(tmp_path, small)
    (tmp_path / "demo").mkdir()
    made.rename(tmp_path / "demo" / "store.zarr")
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 8
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/tutorial.md, block {number + 1}", "exec"), names)
    printed = capsys.readouterr().out
    assert "open_loop" in printed
    assert "leaf area index m2 m-2" in printed
    assert "AAA lies in cell 0" in printed
    assert "ekf: LAI better in 100% of the cells" in printed
    assert (tmp_path / "lai.png").stat().st_size > 5000
    assert (tmp_path / "demo" / "report" / "index.html").is_file()
