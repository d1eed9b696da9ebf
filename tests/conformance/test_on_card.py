"""The tolerances of the conformance page hold on a card too; skipped, saying why, where there is none."""

from functools import partialmethod
from pathlib import Path

import pytest
from rich.console import Console

from ldas.landmodel import Isba
from ldas.landmodel.gpu import CardError, find_card
from ldas.pipeline.site.conformance import run_conformance, tolerance
from tests.support import shared


@pytest.mark.card
def test_free_runs_on_a_card_agree_with_surfex(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    try:
        find_card()
    except CardError as missing:
        pytest.skip(str(missing))
    folder = shared("reference/surfex/cases.json").parent
    monkeypatch.setattr(Isba, "run", partialmethod(Isba.run, device="gpu"))
    with (tmp_path / "table.txt").open("w") as file:
        rows = run_conformance(folder, tmp_path / "rows.json", tmp_path / "page.md", Console(file=file, width=160))
    judged = [(row, allowed) for row in rows if row.case != "hapex_c3_dt92" and (allowed := tolerance(row)) is not None]
    assert len(judged) > 100
    assert [f"{row.case} {row.period} {row.variable}" for row, allowed in judged if not row.max_abs <= allowed] == []
