"""What is missing to run on a card is said in one message, and memory decides how many columns run at a time."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ldas.landmodel import Isba, LandModelError, cold_start
from ldas.landmodel.gpu import Card, CardError, check_memory, columns_that_fit, find_card
from ldas.landmodel.gpu.card import check_capability, check_driver, check_numpy, check_package
from tests.landmodel.support import constant_forcing, simple_columns

CARD = Card(0, "Made-up 16", 16 * 2**30, 15 * 2**30, (8, 9), (13, 0), 76, 1536, 64)
HAS_DRIVER = Path("/proc/driver/nvidia/version").exists()


@pytest.mark.skipif(HAS_DRIVER, reason="this machine has a card")
def test_a_run_on_a_card_that_is_not_there_says_what_is_missing() -> None:
    missing = "no NVIDIA driver on this machine" if find_spec("numba_cuda") else r"pip install 'ldas\[gpu\]'"
    with pytest.raises(CardError, match=missing):
        find_card()
    model = Isba(simple_columns(("C3",)))
    with pytest.raises(LandModelError, match=missing):
        model.run(cold_start(model.parameters), constant_forcing(2), "2007-06-01T00", device="gpu")


def test_a_device_that_is_not_known_is_refused() -> None:
    model = Isba(simple_columns(("C3",)))
    with pytest.raises(LandModelError, match="device: expected cpu, gpu or a device, got 'cuda'"):
        model.run(cold_start(model.parameters), constant_forcing(2), "2007-06-01T00", device="cuda")  # type: ignore[arg-type]


def test_a_driver_or_card_too_old_for_the_compiler_and_a_numpy_that_breaks_it() -> None:
    check_driver((13, 0))
    with pytest.raises(CardError, match=r"knows CUDA 12\.8; the land model needs 13\.0 or later"):
        check_driver((12, 8))
    check_capability("Made-up", (7, 5))
    with pytest.raises(CardError, match=r"Made-up has compute capability 7\.0; the land model needs 7\.5 or later"):
        check_capability("Made-up", (7, 0))
    check_numpy(np.__version__)
    with pytest.raises(CardError, match=r"does not work with NumPy 2\.5\.2: .*below 2\.5"):
        check_numpy("2.5.2")
    check_package("/env/lib/python3.12/site-packages/numba_cuda/numba/cuda/__init__.py")
    with pytest.raises(CardError, match=r"numba\.cuda is Numba's own .* not on PYTHONPATH: pip install 'ldas\[gpu\]'"):
        check_package("/env/lib/python3.12/site-packages/numba/cuda/__init__.py")


def test_a_card_too_small_names_the_columns_that_fit() -> None:
    most = columns_that_fit(CARD)
    assert 1_000_000 < most < 15 * 2**30 // (8 * (200 + 104))  # at least its parameters and its state
    assert columns_that_fit(CARD, members=9) < most / 2
    assert columns_that_fit(CARD._replace(free_bytes=2**30)) == 0
    check_memory(CARD, most)
    with pytest.raises(CardError, match=r"2000000 columns with 9 members each do not fit on Made-up 16") as refused:
        check_memory(CARD, 2_000_000, members=9)
    named = re.search(r"at most (\d+) columns", str(refused.value))
    assert named is not None
    check_memory(CARD, int(named[1]), members=9)
