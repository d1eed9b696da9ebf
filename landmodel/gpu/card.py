"""The card of this machine: which it is, what is missing to use it, and how many columns it holds.

`find_card` is the one place that decides whether the land model can run on a card; every reason against it is a
`CardError` whose message says what to do. A caller that may run on the CPU instead catches it.
"""

import importlib.metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ldas.landmodel import layout, quantities
from ldas.landmodel.errors import LandModelError

OLDEST_DRIVER = (13, 0)
"""CUDA version that the driver must know: that of the compiler of the extra `gpu`."""
_OLDEST_CAPABILITY = (7, 5)
_NUMPY_THAT_BREAKS = (2, 5)  # numba-cuda 0.30 still overloads `numpy.row_stack`, which NumPy 2.5 no longer has
_LOCAL_BYTES = 5120  # of a thread, at most; what the kernel takes is in docs/performance.md
_OWN_BYTES = 600 * 2**20  # of the driver's context and the machine code
_SHARE = 0.95  # of the free memory that is used: others may take some meanwhile


class CardError(LandModelError):
    """No card that the land model can run on: the message says what is missing and what to do."""


class Card(NamedTuple):
    """A graphics card.

    `compute_capability` and `driver` (the CUDA version that the driver knows) are (major, minor); `float64_divisor`:
    the float32 rate over the float64 rate, 2 on cards for computing, 64 on cards for games; `uuid`: of the card itself,
    whatever its number.
    """

    number: int
    name: str
    total_bytes: int
    free_bytes: int
    compute_capability: tuple[int, int]
    driver: tuple[int, int]
    multiprocessors: int
    threads_per_multiprocessor: int
    float64_divisor: int
    uuid: str = ""

    def __str__(self) -> str:
        """Name, memory and driver in one line, for provenance and messages."""
        return (
            f"{self.name} ({self.total_bytes / 2**30:.0f} GiB, compute capability "
            f"{'.'.join(map(str, self.compute_capability))}, CUDA {'.'.join(map(str, self.driver))})"
        )


def find_card(number: int = 0) -> Card:
    """The card with a number, ready to be used.

    Args:
        number: 0 is the first card that the driver shows (`CUDA_VISIBLE_DEVICES` chooses and orders them).

    Returns:
        The card.

    Raises:
        CardError: the extra is not installed, NumPy does not fit, the driver is missing or too old, there is no such
            card, or it is too old.
    """
    _check_libraries()
    driver = loaded_driver()
    version = asked(driver.cuDriverGetVersion())
    check_driver((version // 1000, version % 1000 // 10))
    cards = asked(driver.cuDeviceGetCount())
    if not 0 <= number < cards:
        raise CardError(f"card {number}: expected one of the {cards} cards of this machine, numbered from 0")
    card = asked(driver.cuDeviceGet(number))
    context = asked(driver.cuDevicePrimaryCtxRetain(card))
    try:
        asked(driver.cuCtxPushCurrent(context))
        free, total = asked(driver.cuMemGetInfo())
        asked(driver.cuCtxPopCurrent())
    finally:
        driver.cuDevicePrimaryCtxRelease(card)
    attributes = driver.CUdevice_attribute

    def attribute(name: str) -> int:
        return int(asked(driver.cuDeviceGetAttribute(getattr(attributes, f"CU_DEVICE_ATTRIBUTE_{name}"), card)))

    name = asked(driver.cuDeviceGetName(128, card)).split(b"\0")[0].decode()
    capability = attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")
    check_capability(name, capability)
    return Card(
        number=number,
        name=name,
        total_bytes=int(total),
        free_bytes=int(free),
        compute_capability=capability,
        driver=(version // 1000, version % 1000 // 10),
        multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
        threads_per_multiprocessor=attribute("MAX_THREADS_PER_MULTIPROCESSOR"),
        float64_divisor=attribute("SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO"),
        uuid=asked(driver.cuDeviceGetUuid(card)).bytes.hex(),
    )


def columns_that_fit(card: Card, members: int = 1, output_values: int = 0, records_a_day: int = 25) -> int:
    """How many columns a card holds in one call of `Isba.run`.

    Args:
        card: from `find_card`.
        members: of each column.
        output_values: values that are put out of one column and member at a time (rows of means, ends and instants).
        records_a_day: of the forcing, with those of both ends.

    Returns:
        Number of columns, each in a cell of its own: 0 where the card is too small for any.
    """
    resident = card.multiprocessors * card.threads_per_multiprocessor * _LOCAL_BYTES
    left = card.free_bytes * _SHARE - _OWN_BYTES - resident
    return max(0, int(left // _bytes_per_column(members, output_values, records_a_day)))


def check_memory(card: Card, columns: int, members: int = 1, output_values: int = 0, records_a_day: int = 25) -> None:
    """Refuse more columns than a card holds; arguments as those of `columns_that_fit`.

    Raises:
        CardError: naming how many columns fit.
    """
    most = columns_that_fit(card, members, output_values, records_a_day)
    if columns > most:
        with_members = f" with {members} members each" if members > 1 else ""
        raise CardError(
            f"{columns} columns{with_members} do not fit on {card.name}, of whose {card.total_bytes / 2**30:.1f} GiB "
            f"{card.free_bytes / 2**30:.1f} GiB are free: run at most {most} columns at a time (blocks of fewer "
            "cells), or stop what else uses the card"
        )


def check_driver(driver: tuple[int, int]) -> None:
    """Refuse a driver older than the compiler.

    Raises:
        CardError: naming both CUDA versions.
    """
    if driver < OLDEST_DRIVER:
        raise CardError(
            f"the driver of the card knows CUDA {driver[0]}.{driver[1]}; the land model needs "
            f"{OLDEST_DRIVER[0]}.{OLDEST_DRIVER[1]} or later (driver 580): update the driver, or run with device: cpu"
        )


def check_capability(name: str, capability: tuple[int, int]) -> None:
    """Refuse a card that the compiler has no code for.

    Raises:
        CardError: naming both compute capabilities.
    """
    if capability < _OLDEST_CAPABILITY:
        raise CardError(
            f"{name} has compute capability {capability[0]}.{capability[1]}; the land model needs "
            f"{_OLDEST_CAPABILITY[0]}.{_OLDEST_CAPABILITY[1]} or later: run with device: cpu"
        )


def check_numpy(version: str) -> None:
    """Refuse a NumPy that numba-cuda fails with.

    Raises:
        CardError: naming the version and the one to install.
    """
    if tuple(int(part) for part in version.split(".")[:2]) >= _NUMPY_THAT_BREAKS:
        installed = importlib.metadata.version("numba-cuda") if find_spec("numba_cuda") else "0.30"
        raise CardError(
            f"numba-cuda {installed} does not work with NumPy {version}: pip install 'ldas[gpu]', which has a NumPy "
            "below 2.5"
        )


def check_package(file: str) -> None:
    """Refuse the `numba.cuda` that comes with Numba: numba-cuda takes its place through a `.pth` file.

    Raises:
        CardError: naming the file and what to do.
    """
    if "numba_cuda" not in Path(file).parts:
        raise CardError(
            f"numba.cuda is Numba's own ({file}), which the land model cannot be compiled with; numba-cuda takes its "
            "place only where it is installed in the environment, not on PYTHONPATH: pip install 'ldas[gpu]'"
        )


def _check_libraries() -> None:
    missing = [name for name in ("numba_cuda", "cuda.bindings") if not _is_there(name)]
    if missing:
        raise CardError(f"the land model needs numba-cuda to run on a card ({missing[0]}): pip install 'ldas[gpu]'")
    check_numpy(np.__version__)
    from numba import cuda

    check_package(cuda.__file__)


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def loaded_driver() -> Any:
    """The driver's interface (`cuda.bindings.driver`), initialised.

    Raises:
        CardError: no driver, or none of its cards is visible.
    """
    from cuda.bindings import driver

    no_driver = "no card was found (no NVIDIA driver on this machine): run with device: cpu"
    try:
        (status,) = driver.cuInit(0)
    except RuntimeError as error:  # the driver's library is not there
        raise CardError(no_driver) from error
    if status == driver.CUresult.CUDA_ERROR_NO_DEVICE:
        raise CardError("no card was found (the driver shows none; see CUDA_VISIBLE_DEVICES): run with device: cpu")
    asked((status,))
    return driver


def asked(answer: tuple[Any, ...]) -> Any:
    """The values of the driver's answer: none, one, or a tuple.

    Raises:
        CardError: the answer is an error; the message has its name.
    """
    status, *values = answer
    if int(status):
        raise CardError(f"the driver of the card answers {status.name}: see `nvidia-smi`, or run with device: cpu")
    return values[0] if len(values) == 1 else tuple(values)


def _bytes_per_column(members: int, output_values: int, records_a_day: int) -> int:
    state = layout.STATE_SIZE + len(layout.SURFACE) + layout.FLUX_SIZE + 2 * output_values + 2
    forcing = 2 * records_a_day * len(quantities.FORCING)  # both buffers
    return 8 * (layout.PARAMETER_SIZE + forcing + members * state)
