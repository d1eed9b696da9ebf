"""The built wheel: one import name, whatever files a user's own folder holds."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import REPOSITORY

NAMESAKES = ("pipeline", "operators", "assim", "landmodel")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of the wheel, as an installation has it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_installs_one_name(installed: Path) -> None:
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"ldas"}
    assert not any(path.is_symlink() for path in installed.rglob("*"))
    in_tree = {path.relative_to(REPOSITORY) for name in NAMESAKES for path in (REPOSITORY / name).rglob("*.py")}
    assert {path.relative_to(installed / "ldas") for path in (installed / "ldas").rglob("*.py")} == in_tree | {
        Path("__init__.py")
    }
    for data in (
        "pipeline/variables.yaml",
        "pipeline/demo.yaml",
        "pipeline/report/page.html.jinja",
        "pipeline/report/interactive.js",
    ):
        assert (installed / "ldas" / data).is_file()


@pytest.mark.parametrize("arguments", [["--version"], ["check", "experiment.yaml"], ["schema"]])
def test_files_of_a_user_called_like_the_folders_do_no_harm(
    installed: Path, tmp_path: Path, arguments: list[str]
) -> None:
    for name in NAMESAKES:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a file of the user')\n", encoding="utf-8")
    (tmp_path / "experiment.yaml").write_text("name: x\n", encoding="utf-8")
    code = f"import sys; sys.path.append({str(installed)!r}); from ldas.pipeline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.'); {code}", *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "RuntimeError" not in done.stderr
    assert done.returncode == (2 if arguments[0] == "check" else 0), done.stderr


def test_open_run_is_the_face(installed: Path, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); import ldas; print(ldas.open_run.__module__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "ldas.pipeline.store.arrays"


@pytest.mark.parametrize("arguments", [["-m", "ldas.pipeline.program", "--help"], ["-c", "import ldas"]])
def test_help_and_import_come_at_once(installed: Path, arguments: list[str]) -> None:
    """Under half a second; counted is processor time, which tests beside this one do not lengthen much."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
        after = os.times()
        spent = (after.children_user - before.children_user, after.children_system - before.children_system)
        seconds.append(sum(spent))
    assert min(seconds) < 0.5
