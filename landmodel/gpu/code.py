"""Machine code of the kernels, kept on disk: PTX, which the driver of the card turns into the code of that card.

It is kept beside the compiled code of the processor (`compile.cache_root`), by hash of all sources of the land model
and of the compiler's versions, and made when it is not there, in some 11 s for each set of options.
"""

import hashlib
import importlib.metadata
import os
import platform
import tempfile
from functools import cache
from pathlib import Path

from ldas.landmodel import compile as processor
from ldas.landmodel.gpu.device import Kernel

_LIBRARIES = ("numba", "numba-cuda", "llvmlite", "nvidia-nvvm")
NEWEST = (12, 0)
"""Compute capability that the compiler of the extra knows; newer cards run the code of this one."""


def advance_code(kernel: Kernel, capability: tuple[int, int]) -> str:
    """PTX of the kernel that advances columns.

    Args:
        kernel: its options, whether the texture is uniform, and the precision of the forcing decide.
        capability: of the card, (major, minor).
    """
    capability = min(capability, NEWEST)
    key = hashlib.sha256(repr((kernel.options, kernel.uniform, kernel.forcing)).encode()).hexdigest()[:16]
    path = _folder() / f"advance-{key}-{capability[0]}{capability[1]}.ptx"
    if path.exists():
        return path.read_text(encoding="ascii")
    from ldas.landmodel.gpu import kernel as source
    from ldas.landmodel.gpu.compile import machine_code

    function = source.advance(kernel.options, kernel.uniform)
    return _keep(path, machine_code(function, source.advance_types(kernel.forcing), capability))


def small_code(name: str, capability: tuple[int, int]) -> str:
    """PTX of one of the kernels that carry rows: a name of `kernel.SMALL`."""
    capability = min(capability, NEWEST)
    path = _folder() / f"{name}-{capability[0]}{capability[1]}.ptx"
    if path.exists():
        return path.read_text(encoding="ascii")
    from ldas.landmodel.gpu import kernel as source
    from ldas.landmodel.gpu.compile import machine_code

    return _keep(path, machine_code(*source.SMALL[name], capability))


def _keep(path: Path, text: str) -> str:
    """Write a file whole or not at all: other processes may look for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="ascii") as file:
        file.write(text)
    os.replace(file.name, path)
    return text


@cache
def _folder() -> Path:
    digest = hashlib.sha256()
    for source in sorted(Path(processor.__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    versions = [importlib.metadata.version(name) for name in _LIBRARIES]
    digest.update(repr((versions, platform.python_version())).encode())
    return processor.cache_root() / f"card-{digest.hexdigest()[:16]}"
