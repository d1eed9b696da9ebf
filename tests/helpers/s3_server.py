"""An S3 server on loopback (moto) whose requests fail, wait or are refused on demand."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

_SLOW_DOWN = ("503 Slow Down", "SlowDown")
_INTERNAL = ("500 Internal Server Error", "InternalError")
_DENIED = ("403 Forbidden", "AccessDenied")
_NOT_IMPLEMENTED = ("501 Not Implemented", "NotImplemented")


class Faults:
    """WSGI middleware: a share of the requests gets 500 or 503, another waits; or all writes are refused, or
    conditions of requests are ignored, or objects are deleted one by one only."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._random = random.Random(20070401)
        self._lock = threading.Lock()
        self._writes = threading.Lock()  # moto looks at a condition, then writes: in S3 that is one step
        self.failing_share = self.waiting_share = 0.0
        self.wait_s = 0.02
        self.read_only = self.single_deletes = False
        self.conditions_ignored: tuple[str, ...] = ()
        self.ignored = 0
        self.requests = self.failures = self.refusals = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """One request."""
        with self._lock:
            fails, waits = self._random.random() < self.failing_share, self._random.random() < self.waiting_share
            status, code = self._random.choice([_SLOW_DOWN, _INTERNAL])
            self.requests += 1
            self.failures += fails
        if waits:
            time.sleep(self.wait_s)
        if self.read_only and environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            fails, (status, code) = True, _DENIED
            self.refusals += 1
        if self.single_deletes and environ["REQUEST_METHOD"] == "POST" and "delete" in environ["QUERY_STRING"]:
            fails, (status, code) = True, _NOT_IMPLEMENTED
            self.refusals += 1
        for name in self.conditions_ignored:
            self.ignored += environ.pop(f"HTTP_{name}", None) is not None
        if not fails:
            if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
                return self._application(environ, start_response)
            with self._writes:
                return list(self._application(environ, start_response))
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>on demand</Message></Error>".encode()]


class S3Server:
    """A server with its faults; `location_options` are the store options that lead to it."""

    def __init__(self) -> None:
        self.faults = Faults(DomainDispatcherApplication(create_backend_app))
        self._server = make_server("127.0.0.1", 0, self.faults, True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._names = itertools.count()
        self.location_options = {"endpoint_url": f"http://127.0.0.1:{self._server.port}"}

    @contextmanager
    def set(self, **settings: Any) -> Iterator[Faults]:
        """Faults inside a `with`, none after it."""
        for name, value in settings.items():
            setattr(self.faults, name, value)
        try:
            yield self.faults
        finally:
            self.faults.failing_share = self.faults.waiting_share = 0.0
            self.faults.read_only = self.faults.single_deletes = False
            self.faults.conditions_ignored = ()

    def stop(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Quiet(MotoRequestHandler):
    def log_request(self, *arguments: Any) -> None:
        """Says nothing."""
