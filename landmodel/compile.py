"""How the physics is compiled and where compiled code is kept."""

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from numba import njit

science = njit(error_model="numpy", nogil=True)
"""Decorator of every function of the physics: no division checks, no global interpreter lock."""


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


def cache_folder() -> Path:
    """Folder of the compiled code: `LDAS_CACHE_DIR`, or a folder in the user's cache."""
    root = os.environ.get("LDAS_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ldas"
    )
    return Path(root) / f"landmodel-{_fingerprint()}"


def cached_entry(function: Callable[..., Any]) -> Any:
    """Decorator of the kernel's entry: as `science`, its machine code kept on disk."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(cache_folder())
    try:
        return njit(error_model="numpy", nogil=True, cache=True)(function)
    finally:
        numba.config.CACHE_DIR = before
