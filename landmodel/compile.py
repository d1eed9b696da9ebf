"""How the physics is compiled and where compiled code is kept."""

import hashlib
import logging
import os
import platform
import shutil
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from numba import njit

science = njit(error_model="numpy", nogil=True)
"""Decorator of every function of the physics: no division checks, no global interpreter lock."""


@cache
def _fingerprint() -> str:
    """Hash of all sources of the land model, of the compiler's versions and of the processor.

    Numba looks at the file of the entry function alone: without this key it would serve stale physics after a change in
    another file.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    versions = (numba.__version__, llvmlite.__version__, platform.python_version())
    processor = (platform.machine(), binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())
    digest.update(repr((versions, processor)).encode())
    return digest.hexdigest()[:16]


@cache
def cache_root() -> Path:
    """Folder of what is made once and kept: `LDAS_CACHE_DIR`, or `ldas` in the user's cache.

    Where it cannot be written, a temporary folder: said once, and left in `LDAS_CACHE_DIR` for the processes that this
    one starts.
    """
    usual = _usual_root()
    if _is_writable(usual):
        return usual
    temporary = _temporary_root()
    name = f"landmodel-{_fingerprint()}"
    if (usual / name).is_dir() and not (temporary / name).exists():
        shutil.copytree(usual / name, temporary / name)
        for folder, _, _ in os.walk(temporary / name):  # those that are copied can only be read
            Path(folder).chmod(0o700)
    os.environ["LDAS_CACHE_DIR"] = str(temporary)
    logging.getLogger(__name__).warning(
        "%s cannot be written: compiled code is kept in %s; to choose another folder, set LDAS_CACHE_DIR",
        usual,
        temporary,
    )
    return temporary


def cache_folder() -> Path:
    """Folder of the compiled code in `cache_root`."""
    return cache_root() / f"landmodel-{_fingerprint()}"


def _usual_root() -> Path:
    given = os.environ.get("LDAS_CACHE_DIR")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ldas"


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _temporary_root() -> Path:
    """A folder below the system's temporary one that belongs to this user alone: what is in it is run."""
    folder = Path(tempfile.gettempdir()) / f"ldas-cache-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="ldas-cache-"))
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
    return folder if ours else Path(tempfile.mkdtemp(prefix="ldas-cache-"))


def cached(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compiled without the global interpreter lock, the machine code kept in `cache_folder`.

    Beside the source, where Numba would keep it, many installations cannot be written. options: of `numba.njit`.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(cache_folder())
        try:
            return njit(nogil=True, cache=True, **options)(function)
        finally:
            numba.config.CACHE_DIR = before

    return compiled


cached_entry = cached(error_model="numpy")
"""Decorator of the kernel's entry: as `science`, its machine code kept on disk."""
