"""`ldas explore`: what it says before there is a page, and where it listens."""

import importlib.util
import socket
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from ldas.pipeline.commands import explore
from ldas.pipeline.errors import ExecutionError
from ldas.pipeline.store.location import Location
from tests.helpers.program import program
from tests.helpers.small_store import make_synthetic_store


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one message of a command that is refused."""
    assert program("explore", "--no-browser", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_what_is_refused_is_said_in_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no store at " in said(capsys, str(tmp_path))
    store = tmp_path / "store"
    make_synthetic_store(Location(str(store)), cells=2, days=1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        message = said(capsys, str(store), "--port", str(port))
    assert message.startswith(f"error: port {port} of 127.0.0.1 is in use: choose another with --port, or --port 0")
    assert "192.0.2.77 is no address of this machine" in said(capsys, str(store), "--host", "192.0.2.77")


def test_libraries_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ExecutionError, match=r"needs panel, holoviews, datashader: pip install 'ldas\[explore\]'"):
        explore.explore_store(Location(str(tmp_path)))


class Server:
    """A server that does not wait for visitors."""

    port = 5006

    def __init__(self) -> None:
        self.io_loop = self

    def start(self) -> None:
        """Does nothing."""


@pytest.mark.parametrize(
    ("host", "found", "lines"),
    [
        ("127.0.0.1", True, ["store: http://localhost:5006/ (Ctrl-C ends it)"]),
        ("127.0.0.1", False, ["store: http://localhost:5006/", "no browser was found on this machine: open http"]),
        ("0.0.0.0", True, ["store: http://localhost:5006/", "WARNING: everyone who can reach 0.0.0.0:5006"]),
    ],
    ids=["loopback", "no-browser", "everyone"],
)  # fmt: skip
def test_the_link_comes_first_and_who_else_can_look_is_said(
    monkeypatch: pytest.MonkeyPatch, host: str, found: bool, lines: list[str]
) -> None:
    pytest.importorskip("panel", reason="needs the extra `explore`")
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda link: bool(opened.append(link)) or found)
    monkeypatch.setattr(explore, "make_server", lambda *arguments, **options: Server())
    printed: list[str] = []
    explore.explore_store(Location("store"), host=host, message=printed.append)
    assert len(printed) == len(lines)
    assert all(line.startswith(start) for line, start in zip(printed, lines, strict=True))
    assert opened == ["http://localhost:5006/"]


def test_only_known_names_may_ask_for_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    assert explore.names_of("127.0.0.1") == ["localhost", "127.0.0.1"]
    monkeypatch.setattr(socket, "gethostname", lambda: "node7")
    monkeypatch.setattr(socket, "getfqdn", lambda: "node7.example.org")

    def addresses(name: str) -> Any:
        return name, [], ["198.51.100.7"]

    monkeypatch.setattr(socket, "gethostbyname_ex", addresses)
    expected = ["localhost", "127.0.0.1", "0.0.0.0", "node7", "node7.example.org", "198.51.100.7"]
    assert explore.names_of("0.0.0.0") == expected
