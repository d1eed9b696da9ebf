"""`ldas explore`: a store on a web page of this machine."""

import errno
import importlib.util
import ipaddress
import logging
import socket
import warnings
import webbrowser
from collections.abc import Callable, Sequence
from typing import Any

from ldas.pipeline.errors import ExecutionError
from ldas.pipeline.explore.content import Content
from ldas.pipeline.store.location import Location

LOOPBACK = "127.0.0.1"
_LIBRARIES = ("panel", "holoviews", "datashader")
_CANNOT_LISTEN = {
    errno.EADDRINUSE: "is in use: choose another with --port, or --port 0 for any that is free",
    errno.EACCES: "may not be used by you: choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "is no address of this machine: --host takes one that is, or 0.0.0.0 for all of them",
}


def explore_store(
    location: Location,
    *,
    host: str = LOOPBACK,
    port: int = 5006,
    origins: Sequence[str] = (),
    browser: bool = True,
    message: Callable[[str], None] = lambda line: print(line, flush=True),
) -> None:
    """Serves the page of a store until it is interrupted.

    Args:
        host, port: where to listen; port 0: any that is free.
        origins: further HOST:PORT under which browsers know the page, such as those of a proxy.
        browser: whether to open the page.
        message: takes the lines to print; the link first.

    Raises:
        StoreError: if there is no store, or nothing in it that can be shown.
        ExecutionError: if a library is missing, or the port cannot be used.
    """
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExecutionError(f"ldas explore needs {', '.join(missing)}: pip install 'ldas[explore]'")
    server = make_server(location, host=host, port=port, origins=origins)
    for line in _lines(location, host, server.port):
        message(line)
    link = f"http://{_as_seen(host)}:{server.port}/"
    if browser and not webbrowser.open(link):
        message(f"no browser was found on this machine: open {link} in one (--no-browser: without this line)")
    server.start()
    server.io_loop.start()


def make_server(location: Location, *, host: str, port: int, origins: Sequence[str] = ()) -> Any:
    """The server of the page, listening, but not started; its libraries have drawn the page once. Every visit opens the
    store anew. Errors are those of `explore_store`."""
    content = Content.of(location)
    _ = content.sources  # refused now, and not on the page
    name = "/".join(location.url.rstrip("/").split("/")[-2:])
    port = usable_port(host, port)  # before libraries are imported, which takes seconds
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="datashader|holoviews|hvplot|panel|param|pyct")
        import holoviews as hv
        import panel as pn

        hv.extension("bokeh")
        pn.extension()
        pn.config.respect_explicit_sizing = True
    from ldas.pipeline.explore.page import Page, page

    logging.getLogger("bokeh").setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # of a visitor who left while something was sent
    Page(content, name, {}).warm_up()

    def visited() -> Any:
        return page(lambda: Content.of(location), name)

    try:
        return pn.serve(
            visited, port=port, address=host, show=False, start=False, verbose=False, title=f"ldas explore {name}",
            websocket_origin=[*(f"{known}:{port}" for known in names_of(host)), *origins],
        )  # fmt: skip
    except OSError as error:
        raise _cannot_listen(host, port, error) from error


def names_of(host: str) -> list[str]:
    """The names under which browsers may ask for a page that listens on a host: a page of another name, which some
    other site made point here, is not served."""
    known = ["localhost", LOOPBACK]
    if not _is_loopback(host):
        own = socket.gethostname()
        try:
            addresses = socket.gethostbyname_ex(own)[2]
        except OSError:
            addresses = []
        known += [host, own, socket.getfqdn(), *addresses]
    return list(dict.fromkeys(known))


def usable_port(host: str, port: int) -> int:
    """A port that can be listened on: the one that is asked for, or for 0 any that is free.

    Raises:
        ExecutionError: if it cannot.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            trial.bind(address)
            return int(trial.getsockname()[1])
    except OSError as error:
        raise _cannot_listen(host, port, error) from error


def _cannot_listen(host: str, port: int, error: OSError) -> ExecutionError:
    what = host if error.errno == errno.EADDRNOTAVAIL else f"port {port} of {host}"
    reason = _CANNOT_LISTEN.get(error.errno or 0, f"cannot be listened on ({error.strerror or error})")
    return ExecutionError(f"{what} {reason}")


def _lines(location: Location, host: str, port: int) -> list[str]:
    lines = [f"{location.url}: http://{_as_seen(host)}:{port}/ (Ctrl-C ends it)"]
    if not _is_loopback(host):
        lines.append(
            f"WARNING: everyone who can reach {host}:{port} sees this store, there is no password; from another "
            f"machine a tunnel is safer (ssh -L {port}:127.0.0.1:{port} HOST), without --host"
        )
    return lines


def _as_seen(host: str) -> str:
    """The host as a link has it."""
    return "localhost" if _is_loopback(host) or host in ("0.0.0.0", "::") else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
