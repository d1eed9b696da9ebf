"""The science files as code of the card, without a card: they are the same files, and all of them compile."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ldas.landmodel import Isba, Options, OutputRequest, cold_start, layout
from ldas.landmodel import step as processor_step
from ldas.landmodel.run_plan import option_record
from tests.landmodel.support import (
    constant_forcing,
    random_columns,
    random_forcing,
    random_state,
    simple_columns,
)
from tests.support import REPOSITORY

pytestmark = pytest.mark.skipif(
    find_spec("numba_cuda") is None, reason="numba-cuda is not installed (extra gpu), which makes code of the card"
)
HOPPER = (9, 0)
FILES = [
    path.stem
    for path in sorted((REPOSITORY / "landmodel").glob("*.py"))
    if "from ldas.landmodel.compile import science" in path.read_text(encoding="utf-8")
]
RECORD = option_record(Options(), 1800.0, set())
DEFAULT = {name: RECORD[name][0].item() for name in layout.OPTION_DTYPE.names or ()}
OTHER = dict.fromkeys(DEFAULT, 1) | {"step": 900.0, "energy_substeps": 3, "snow_layers": 3}


def science(module: ModuleType) -> dict[str, Any]:
    """The functions of the card that a module defines."""
    from numba.cuda.dispatcher import CUDADispatcher

    own = {name: value for name, value in vars(module).items() if isinstance(value, CUDADispatcher)}
    return {name: value for name, value in own.items() if value.py_func.__module__ == module.__name__}


def code_of(options: dict[str, float], uniform: bool) -> str:
    """PTX of the kernel."""
    from ldas.landmodel.gpu.compile import machine_code
    from ldas.landmodel.gpu.kernel import advance, advance_types

    return machine_code(advance(tuple(options.items()), uniform), advance_types("float32"), HOPPER)


def test_the_same_files_are_there_twice_and_the_processors_are_untouched() -> None:
    from ldas.landmodel.gpu import lanes
    from ldas.landmodel.gpu.compile import science_module

    modules = dict(sys.modules)
    on_card = science_module("step")
    assert on_card is science_module("step")
    assert on_card is not processor_step
    assert on_card.__file__ == processor_step.__file__
    assert on_card.exp is lanes.exp
    assert on_card.VAPORISATION_HEAT is processor_step.VAPORISATION_HEAT
    assert on_card.energy_budget is science_module("energy_budget").energy_budget
    changed = {name for name, module in sys.modules.items() if modules.get(name, module) is not module}
    assert changed == set()
    assert sys.modules["ldas.landmodel.step"] is processor_step


def test_every_science_file_has_its_functions_for_the_card() -> None:
    from ldas.landmodel.gpu.compile import science_module

    for name in set(FILES) - {"driver"}:
        text = (REPOSITORY / "landmodel" / f"{name}.py").read_text(encoding="utf-8")
        assert set(science(science_module(name))) == set(re.findall(r"@science\ndef (\w+)", text)), name


def test_kernels_that_carry_rows_and_a_process_become_code_of_the_card() -> None:
    from numba import cuda
    from numba.cuda import types

    from ldas.landmodel.gpu.compile import machine_code, science_module
    from ldas.landmodel.gpu.kernel import SMALL

    for name in ("into_tiles", "take_means"):
        kernel, arguments = SMALL[name]
        code = machine_code(kernel, arguments, HOPPER)
        assert ".target sm_90" in code
        assert len(re.findall(r"\.entry", code)) == 1
        assert ".maxntid 256" in code
    of_air = science_module("thermodynamics").saturation_humidity_and_slope

    def kernel_of_a_process(values: Any) -> None:
        here = cuda.grid(1)
        humidity, slope = of_air(values[here], 1.0e5)
        values[here] = humidity + slope

    code = machine_code(kernel_of_a_process, (types.CPointer(types.float64),), HOPPER)
    assert "ldas_exp" in code  # called, not inlined
    assert "fma.rn.f64" in code


def test_soil_grids_that_columns_share_are_those_of_the_processor() -> None:
    from ldas.landmodel.gpu.kernel_layout import GRID_STRIDE, grid_tables

    bottoms = np.cumsum(np.random.default_rng(1).uniform(0.01, 1.0, (3, 14)), axis=1)
    number, tables = grid_tables(bottoms[[2, 0, 2, 1]])
    assert len(tables) == 3
    mine = tables[number].reshape(4, 4, GRID_STRIDE)
    np.testing.assert_array_equal(mine[:, 0, :14], bottoms[[2, 0, 2, 1]])
    thickness = np.diff(bottoms[2], prepend=0.0)
    np.testing.assert_array_equal(mine[0, 1, :14], thickness)
    np.testing.assert_array_equal(mine[0, 2, :14], 1.0 / thickness)
    np.testing.assert_array_equal(mine[0, 3, :13], 1.0 / (0.5 * (thickness[:-1] + thickness[1:])))


def test_layouts_place_every_quantity_once() -> None:
    from ldas.landmodel.gpu import kernel_layout

    for uniform in (False, True):
        for of, names in (
            (kernel_layout.work_layout(uniform), layout.WORK_DTYPE.names),
            (kernel_layout.parameter_layout(uniform), layout.PARAMETER_DTYPE.names),
        ):
            assert set(of.fields) - {"surface_rows"} == set(names or ())
            places: dict[tuple[str, int], str] = {}
            for name, place in of.fields.items():
                if name == "surface_rows":
                    continue
                for row in range(max(place.rows, 1) if place.stride else 1):
                    at = place.group, place.first + row * place.stride
                    assert places.setdefault(at, name) == name, (name, places[at])
                    assert place.group in of.given or at[1] < of.own[place.group]


@pytest.mark.long
@pytest.mark.timeout(1200)  # a minute of one processor
def test_the_whole_kernel_compiles_for_all_options_beside_the_processors() -> None:
    from ldas.landmodel.gpu.compile import science_module

    model = Isba(simple_columns(("TEBD", "C3")))
    arguments = cold_start(model.parameters, 272.0), constant_forcing(25, 2, Snowf=1e-3, Tair=271.0), "2007-01-01T00"
    before, _ = model.run(*arguments)
    for options, uniform in ((DEFAULT, True), (DEFAULT, False), (OTHER, True), (OTHER, False)):
        code = code_of(options, uniform)
        assert len(re.findall(r"\.entry", code)) == 1
        assert code.count("bar.sync") == 6  # the phases of a step, none in a branch that was copied
        assert ".func" in code
        assert set(re.findall(r"\.extern \.func .*?(\w+)\s*[(\n]", code)) == set()
    unused = {
        f"{name}.{function}"
        for name in set(FILES) - {"driver"}
        for function, dispatcher in science(science_module(name)).items()
        if not dispatcher.overloads
    }
    assert unused == {"start.set_soil_grid"}  # its numbers come in tables
    after, _ = Isba(model.parameters).run(*arguments)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(after, before, strict=True))


@pytest.mark.long
def test_code_is_kept_on_disk_and_found_by_another_process(tmp_path: Path) -> None:
    script = """
import sys
from ldas.landmodel.gpu.code import small_code
text = small_code("add_state", (9, 0))
print(len(text), "numba.cuda.compiler" in sys.modules)
"""
    lines = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"LDAS_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        lines.append(done.stdout.split())
    assert lines[0] == [lines[1][0], "True"]
    assert lines[1][1] == "False"  # no compiler was needed


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_code_of_the_card_run_on_the_processor_has_the_processors_bits() -> None:
    from tests.landmodel.card_code import CardCodeDevice

    random = np.random.default_rng(3)
    parameters = random_columns(random, Options(), 24)
    parameters = parameters._replace(cell=np.arange(24) // 2)
    state = random_state(random, parameters, Options(), "snowfall").members(3)
    state.soil_water[:, 1] *= 1.02
    forcing = random_forcing(random, "snowfall", 37, 12)
    asked = OutputRequest(
        mean=("LE", "TG", "VEG"),
        end=("WG", "SWE"),
        interval_s=6 * 3600.0,
        at=("LAI", "RN"),
        at_steps=np.full((24, 1), 3),
    )
    model = Isba(parameters)
    chosen = np.arange(72).reshape(24, 3) % 5 != 0
    arguments: dict[str, Any] = {"start": "2007-01-01T05", "steps": 72, "output": asked, "where": chosen}
    expected, of_processor = model.run(state, forcing, **arguments)
    found, of_card = model.run(state, forcing, **arguments, device=CardCodeDevice())
    for name, mine, theirs in zip(type(state)._fields, found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
    for name, values in of_processor.items():
        np.testing.assert_array_equal(of_card[name], values, err_msg=name)
