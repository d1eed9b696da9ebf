"""Mistakes of a user give one message and exit status 2, whatever is wrong; and it is shown on every terminal."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from ldas.landmodel.compile import cache_folder
from ldas.pipeline.commands.messages import advice, expanded
from ldas.pipeline.ingest import source_names
from ldas.pipeline.settings.experiment import load_experiment
from tests.helpers.program import program
from tests.helpers.small_store import EXPERIMENT, write_experiment
from tests.support import REPOSITORY

# Contents that no command takes, by name of the file.
WRONG_FILES = {
    "empty": b"",
    "binary": bytes(range(256)) * 8,
    "text": b"this is no configuration\n",
    "list": b"- a\n- b\n",
    "open": b"{name: [unclosed\n",
    "tag": b"!!python/object/apply:os.system [true]\n",
    "types": b"name: 3\nstore: 7\nperiod: yesterday\nfiles: 3\ntable: {}\n",
    "keys": b"nome: x\nstores: {}\n",
    "nothing": b"~\n",
    "zip": b"PK\x03\x04" + bytes(60),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(60),
    "classic": b"CDF\x01" + bytes(20),
    "grib": b"GRIB" + bytes(40),
}
COMMANDS = {
    "check": ("check", "{}"),
    "run": ("run", "{}"),
    "status": ("status", "{}"),
    "twin": ("twin", "{}"),
    "report": ("report", "{}"),
    "site": ("site", "{}", "--out", "out.nc"),
    "conformance": ("conformance", "{}"),
    "train": ("train", "--table", "{}"),
    "analyse": ("analyse", "--table", "{}"),
    "inspect": ("ingest", "inspect", "{}"),
    **{f"ingest {name}": ("ingest", name, "--config", "{}") for name in source_names()},
}


def messages_of(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that is refused says: one message, exit status 2."""
    status = program(*arguments)
    shown = capfd.readouterr()
    text = shown.out + shown.err
    assert status == 2, (arguments, status, text)
    assert "Traceback" not in text, (arguments, text)
    assert "bug in ldas" not in text, (arguments, text)
    assert text.strip(), arguments
    return text


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_files_are_refused_with_one_message(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, content in WRONG_FILES.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"{name}.yaml").write_bytes(content)
    names = [*WRONG_FILES, *(f"{name}.yaml" for name in WRONG_FILES), "folder", "absent.yaml", "empty/below.yaml"]
    for name in names:
        text = messages_of(capfd, *(part.format(name) for part in COMMANDS[command]))
        assert "_" not in text.split(":")[0], text  # no name of a class or function leads a message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"store: {url: store}": "store: {url: small.yaml}"}, "small.yaml"),
        ({"store: {url: store}": "store: {url: 'nosuch://place'}"}, "nosuch"),
        ({"store: {url: store}": "store: {url: 'ftp://127.0.0.1:1/x'}"}, "ftp"),
        ({"{url: store}": "{url: 's3://b/x', options: {anon: true, endpoint_url: 'http://127.0.0.1:1'}}"}, "s3"),
        ({"2007-01-04}": "2007-02-30}"}, "period.end"),
        ({"2007-01-04}": "9999-12-31}"}, "2261-12-31"),
        ({"report: false": "spin_up: {year: 0}"}, "spin_up.year"),
        ({"report: false": "spin_up: {year: 1850}"}, "1850"),
        ({"report: false": "accept: [nights]"}, "night_shortwave"),
        ({"cells_per_block: 1": "cells_per_block: 0"}, "cells_per_block"),
        ({"mean: [LE]": "mean: [LEE]"}, "LEE"),
        ({"report: false": "ingest: [{source: era5, config: absent.yaml, makes: forcing2}]"}, "absent.yaml"),
        ({"report: false": "ingest: [{source: era6, config: small.yaml, makes: forcing2}]"}, "era6"),
    ],
)  # fmt: skip
def test_wrong_values_of_an_experiment(
    change: dict[str, str],
    expected: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ldas.pipeline.store.retry.FIRST_WAIT_S", 0.001)  # of a server that is not there
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    write_experiment(tmp_path / "small.yaml")
    text = EXPERIMENT
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "changed.yaml"
    file.write_text(text, encoding="utf-8")
    for command in ("check", "run"):
        shown = messages_of(capfd, command, str(file))
        assert expected in "".join(re.split(r"[│\s]+", shown)), shown  # a table breaks long lines


def test_errors_of_others_say_what_to_do() -> None:
    absent = ModuleNotFoundError("No module named 'cfgrib'", name="cfgrib")
    assert "cfgrib is needed and not installed" in str(advice(absent))
    denied = PermissionError(13, "Permission denied", "/data/forcing.nc")
    assert str(advice(denied)).startswith("/data/forcing.nc: Permission denied")
    from botocore.exceptions import NoCredentialsError

    assert "Unable to locate credentials; check address, credentials" in str(advice(NoCredentialsError()))
    assert advice(ValueError("a mistake of ours")) is None


def test_home_is_found_where_the_shell_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the command line, and in the names of an experiment and of an ingestion."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded(["report", "~/run", "--out=~/page", "--name", "a~b", "~nobody-of-this-name/x"]) == [
        "report", f"{tmp_path}/run", f"--out={tmp_path}/page", "--name", "a~b", "~nobody-of-this-name/x",
    ]  # fmt: skip
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "small.yaml"
    text = EXPERIMENT.replace("url: store", "url: ~/data/store")
    file.write_text(text + "ingest: [{source: site, config: ~/site.yaml, makes: land}]\n", encoding="utf-8")
    config = load_experiment(file)
    assert config.store.url == str(tmp_path / "data" / "store")
    assert config.ingest[0].config == tmp_path / "site.yaml"


def test_report_of_the_folder_of_a_demo(tmp_path: Path, threads: Client, capfd: pytest.CaptureFixture[str]) -> None:
    """The folder holds `experiment.yaml` and the store that it names."""
    write_experiment(tmp_path / "experiment.yaml")
    assert program("run", str(tmp_path / "experiment.yaml")) == 0
    capfd.readouterr()
    assert program("report", str(tmp_path)) == 0
    assert capfd.readouterr().out.strip() == str(tmp_path / "store_report" / "index.html")


def run_as(
    environment: dict[str, str],
    *arguments: str,
    before: tuple[str, ...] = (),
    what: tuple[str, ...] = ("-m", "ldas.pipeline.program"),
) -> subprocess.CompletedProcess[bytes]:
    """`ldas`, or what else, in a process of its own, without a terminal."""
    return subprocess.run(
        [*before, sys.executable, *what, *arguments],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        timeout=240,
        check=False,
    )


def test_ascii_terminals_show_everything(tmp_path: Path) -> None:
    """Progress, tables, the report and messages are plain text, without a sign that could not be encoded."""
    write_experiment(tmp_path / "small.yaml")
    plain = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    strange = tmp_path / "données.yaml"
    strange.write_text(EXPERIMENT.replace("period", "périod"), encoding="utf-8")
    commands = [
        *([name, str(tmp_path / "small.yaml")] for name in ("check", "run")),
        ["status", str(tmp_path / "small.yaml"), "--blocks"],
        ["report", str(tmp_path / "small.yaml"), "--markdown"],
    ]
    lines = f"from tests.helpers.program import program\nassert not any(program(*one) for one in {commands!r})"
    done = run_as(plain, what=("-c", lines))  # one process for all: most of their time is its start
    assert done.returncode == 0, done.stderr
    (done.stdout + done.stderr).decode("ascii")
    assert b"?" not in done.stdout, done.stdout
    refused = run_as(plain, "check", str(strange))
    assert refused.returncode == 2
    assert b"period: unknown key; did you mean 'period'?" in refused.stderr


def read_only(*folders: Path) -> tuple[str, ...]:
    """What to write before a command so that it sees two folders mounted read-only; nothing where that is forbidden."""
    mount = 'mount --bind "$folder" "$folder" && mount -o remount,ro,bind "$folder" || exit 9'
    script = f'for folder in "$0" "$1"; do {mount}; done; shift; exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", script, *map(str, folders))
    able = shutil.which(before[0]) is not None and not subprocess.run([*before, "true"], check=False).returncode
    return before if able else ()


@pytest.mark.long
def test_a_read_only_home_and_installation(tmp_path: Path) -> None:
    """The kernel's cache falls back to a temporary folder, says so once, and the run is done, with its report."""
    # What keeps others out keeps root out only without these rights.
    before = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.getuid() == 0 else ()
    if before and (shutil.which(before[0]) is None or subprocess.run([*before, "true"], check=False).returncode):
        pytest.skip("root may write anywhere here: setpriv is missing or may not drop rights")
    home, work, spare = (tmp_path / name for name in ("home", "work", "spare"))
    for folder in (home, work, spare):
        folder.mkdir()
    home.chmod(0o555)
    write_experiment(work / "small.yaml")
    environment = {
        "HOME": str(home),
        "TMPDIR": str(spare),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "LDAS_CACHE_DIR": str(read_only_copy(cache_folder(), tmp_path)),
    }
    installation = read_only(REPOSITORY, Path(sys.prefix))
    if installation:
        assert subprocess.run([*installation, "touch", str(REPOSITORY / "new")], check=False).returncode == 1
    done = run_as(environment, "run", str(work / "small.yaml"), before=(*installation, *before))
    assert done.returncode == 0, done.stderr.decode()
    text = done.stderr.decode()
    assert text.count("LDAS_CACHE_DIR") == 1, text
    assert f"cache cannot be written: compiled code is kept in {spare}/ldas-cache-{os.getuid()}" in text
    with xr.open_zarr(work / "store" / "runs" / "open_loop", consolidated=False) as run:
        assert np.isfinite(run["LE"].values).all()
    written = run_as(environment, "report", str(work / "small.yaml"), before=before)
    assert written.returncode == 0, written.stderr.decode()
    assert b"MPLCONFIGDIR" not in written.stderr
    assert (work / "store_report" / "index.html").is_file()
    if not installation:
        pytest.skip("only with a read-only home: folders may not be mounted here")


def read_only_copy(folder: Path, where: Path) -> Path:
    """A cache of compiled code that can only be read."""
    root = where / "cache"
    shutil.copytree(folder, root / folder.name)
    for place, _, _ in os.walk(root):
        Path(place).chmod(0o555)
    return root


# A word twice (but for units, such as `kg kg-1`), or "cell" before a name that begins with it.
DOUBLED = re.compile(r"(?<![-\w])([A-Za-z]{4,}|the|and|for|not|has)\s+\1\b|\bcell \{\w*\.?name\(")


def texts(source: str) -> list[str]:
    """All texts of a program; what a formatted one puts in is in braces."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [
                part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"  # type: ignore[attr-defined]
                for part in node.values
            ]
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def test_no_message_says_a_word_twice() -> None:
    for text in ("at cell cell 0", "of the\nthe file"):
        assert DOUBLED.search(text)
    assert DOUBLED.search(texts('f"in cell {cells.name(3)}"')[0])
    wrong = [
        f"{file.relative_to(REPOSITORY)}: {found.group()}"
        for room in ("landmodel", "operators", "assim", "pipeline")
        for file in sorted((REPOSITORY / room).rglob("*.py"))
        for text in texts(file.read_text(encoding="utf-8"))
        if (found := DOUBLED.search(text))
    ]
    assert wrong == []
