"""The tutorials run, and what is stored of them is what the pages need."""

import re
import runpy
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest

import ldas
from tests.support import REPOSITORY, SHARED, shared

NOTEBOOKS = runpy.run_path(str(REPOSITORY / "docs" / "notebooks.py"))
TUTORIALS = REPOSITORY / "docs" / "tutorials"


def shown(notebook: nbformat.NotebookNode, command: str) -> str:
    """What the cell with a command printed."""
    (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code" and command in cell.source)
    return "".join(output.text for output in cell.outputs)


@pytest.mark.parametrize("path", sorted(TUTORIALS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_stored_notebooks_have_their_outputs_and_nothing_of_a_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < 600_000
    assert re.findall(r"(?<![\w.:/])/(?:home|root|tmp|work|Users|usr|opt)/[^\"\\ ]*|\d+\.\d+\.\d+\.\d+:\d+", text) == []
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert all(cell.execution_count is None and "execution" not in cell.metadata for cell in code)
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2


def test_your_own_region_runs_from_the_recipe_to_the_analysis(tmp_path: Path) -> None:
    """On two months instead of a year, and without what tests/pipeline/ingest/test_inspect.py holds."""
    shorter = {'"2018-07-01", "2019-06-30"': '"2018-07-01", "2018-08-31"', "spin_up: ": "#"}
    shorter["!ldas ingest inspect data_own_region/era5/stand_in.nc"] = "pass"
    notebook = NOTEBOOKS["run"](TUTORIALS / "own_region.ipynb", tmp_path, shorter)
    checked = shown(notebook, "!ldas check")
    assert checked.count("│ ok ") == 5
    assert not re.search("│ (missing|wrong) ", checked)
    assert "EKF: done in" in (said := shown(notebook, "!ldas run"))
    assert "━" not in said  # a live line is for terminals
    run = ldas.open_run(str(tmp_path / "own_region.zarr"))
    assert run["land"].sizes["cell"] == 4
    day = np.datetime64("2018-08-31")
    observed = run["observations/lai"]["value"].sel(time=day, method="ffill").values
    apart = [abs(run[f"runs/{name}"]["LAI"].sel(time=day).values - observed) for name in ("EKF", "open_loop")]
    assert apart[0].mean() < 0.5 * apart[1].mean()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_hawaii_runs(tmp_path: Path) -> None:
    """All of it, from the files to the scores that the page on Hawaii has; some minutes."""
    shared("data/hawaii/SCAN")
    (tmp_path / "shared").symlink_to(SHARED)
    shutil.copytree(REPOSITORY / "examples", tmp_path / "ldas" / "examples")
    folder = tmp_path / "ldas" / "docs" / "tutorials"
    folder.mkdir(parents=True)
    notebook = NOTEBOOKS["run"](TUTORIALS / "hawaii.ipynb", folder)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    shown_as_text = [output.data["text/plain"] for output in outputs]
    (table,) = (text for text in shown_as_text if "R with the sensor at" in text)
    assert [line.split() for line in table.splitlines()[2:4]] == [
        ["open_loop", "0.909", "0.919", "0.796", "0.891"],
        ["EKF", "0.913", "0.919", "0.798", "0.889"],
    ]
