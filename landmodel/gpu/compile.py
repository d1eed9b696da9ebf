"""The science files a second time, as functions of the card, and from a kernel to its machine code.

`science_module` imports a file of the physics again with the card's `lanes` and `compile` in place of the processor's.
The modules of the processor are not touched, nor is `sys.modules`: the second import has an `__import__` of its own.
"""

import builtins
import importlib
import importlib.util
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

from numba import cuda

from ldas.landmodel.gpu.device import THREADS

_PACKAGE = "ldas.landmodel"
_IN_PLACE_OF = {f"{_PACKAGE}.{name}": f"{_PACKAGE}.gpu.{name}" for name in ("compile", "lanes")}
_MARK = f"from {_PACKAGE}.compile import science"
_modules: dict[str, ModuleType] = {}
_lock = threading.RLock()


def science(function: Callable[..., Any]) -> Any:
    """Decorator of every function of the physics: a function of the card."""
    return cuda.jit(device=True)(function)


def science_module(name: str) -> ModuleType:
    """A file of the physics such as `step`, its functions compiled for the card; imported at the first call."""
    with _lock:
        return _import(f"{_PACKAGE}.{name}")


def _import(name: str) -> ModuleType:
    if name in _modules:
        return _modules[name]
    if name in _IN_PLACE_OF:
        return importlib.import_module(_IN_PLACE_OF[name])
    specification = importlib.util.find_spec(name)
    if specification is None or specification.loader is None or not _is_science(specification.loader, name):
        return importlib.import_module(name)
    module = importlib.util.module_from_spec(specification)
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import_for_science}
    _modules[name] = module
    specification.loader.exec_module(module)
    return module


def _is_science(loader: Any, name: str) -> bool:
    return name.startswith(f"{_PACKAGE}.") and _MARK in loader.get_source(name)


def _import_for_science(
    name: str, globals_: Any = None, locals_: Any = None, names: tuple[str, ...] = (), level: int = 0
) -> ModuleType:
    """What `import` does in a science file of the card."""
    if names and not level and name.startswith(f"{_PACKAGE}."):
        return _import(name)
    return builtins.__import__(name, globals_, locals_, names, level)


def machine_code(kernel: Callable[..., None], arguments: tuple[Any, ...], capability: tuple[int, int]) -> str:
    """PTX of a kernel for a compute capability, made without a card; its entry is the only one in it.

    Args:
        kernel: a Python function of Numba's kind.
        arguments: Numba types of its arguments.
        capability: (major, minor).
    """
    from numba.cuda.compiler import compile_ptx

    with _lock, _compiling_for(capability):
        return str(compile_ptx(kernel, arguments, cc=capability, launch_bounds=THREADS)[0])


@contextmanager
def _compiling_for(capability: tuple[int, int]) -> Iterator[None]:
    """Code is made for a capability. numba-cuda would ask the driver for that of the card, and another compiler (NVRTC,
    which is large, and not needed otherwise) for those that there are."""
    from numba.cuda import cuda_paths, dispatcher
    from numba.cuda.cudadrv import nvrtc

    before = dispatcher.get_current_device, nvrtc.get_arch_option, cuda_paths._get_nvrtc_path
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    nvrtc.get_arch_option = lambda major, minor: f"compute_{major}{minor}"
    cuda_paths._get_nvrtc_path = lambda: None
    try:
        yield
    finally:
        dispatcher.get_current_device, nvrtc.get_arch_option, cuda_paths._get_nvrtc_path = before
