"""A store in memory whose requests fail on demand: `failing://name`."""

import errno
import random
import threading
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class FailingFileSystem(MemoryFileSystem):
    """Fails a share of its requests the way object stores do (500, 503), or all writes."""

    protocol = ("failing",)
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    failing_share = 0.0
    write_error: tuple[int, str] | None = None
    failures = 0
    _random = random.Random(7)
    _lock = threading.Lock()

    def _maybe_fail(self) -> None:
        kind = type(self)
        with kind._lock:
            if kind._random.random() < kind.failing_share:
                kind.failures += 1
                raise OSError(*kind._random.choice([(errno.EBUSY, "503 Slow Down"), (errno.EIO, "500 Internal Error")]))

    def pipe_file(self, path: str, value: bytes, **settings: Any) -> Any:
        """Writes, or fails."""
        if self.write_error is not None:
            raise OSError(*self.write_error)
        self._maybe_fail()
        return super().pipe_file(path, value, **settings)

    def cat_file(self, path: str, **settings: Any) -> Any:
        """Reads, or fails."""
        self._maybe_fail()
        return super().cat_file(path, **settings)

    def ls(self, path: str, **settings: Any) -> Any:
        """Lists, or fails."""
        self._maybe_fail()
        return super().ls(path, **settings)


def register() -> None:
    """Makes the protocol known to fsspec."""
    fsspec.register_implementation("failing", FailingFileSystem, clobber=True)
