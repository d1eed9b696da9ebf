"""The code of the card, run on the processor: what the compiler for the card is given, made into machine code of this
one.

The instructions (LLVM IR) are those that become PTX. Only what the hardware provides is put in their place: the number
of the thread, the barrier (threads run one after the other, and share nothing), and the functions of the card's
mathematics. Products and sums are not contracted, which the card does.
"""

import ctypes
import re
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from ldas.landmodel.array_types import Array
from ldas.landmodel.gpu.compile import _compiling_for
from ldas.landmodel.gpu.device import THREADS, Columns
from ldas.landmodel.gpu.kernel import SMALL, advance, advance_types
from tests.landmodel.host_device import HostDevice

_MATHEMATICS = {
    "fma": ("llvm.fma.f64", 3), "fmin": ("llvm.minnum.f64", 2), "fmax": ("llvm.maxnum.f64", 2),
    "sqrt": ("llvm.sqrt.f64", 1), "fabs": ("llvm.fabs.f64", 1), "exp": ("exp", 1), "log": ("log", 1),
    "acos": ("acos", 1),
}  # fmt: skip
_POINTER = re.compile(r'(?:\bdouble|\bfloat|\bi\d+|\bptr|\[\d+ x [^\[\]]*\]|\{[^{}"]*\})\*+')
_THREAD = ("tid", "ctaid", "ntid")


def _hardware() -> str:
    """Definitions of what a card provides."""
    lines = [f"@{name} = global i32 {THREADS}" for name in _THREAD]
    lines += [f"define i32 @card_{n}() {{\n %v = load i32, ptr @{n}\n ret i32 %v\n}}" for n in _THREAD]
    lines.append("define void @card_barrier() {\n ret void\n}")
    for name, (function, count) in _MATHEMATICS.items():
        arguments = ", ".join(f"double %a{number}" for number in range(count))
        lines.append(f"declare double @{function}({', '.join(['double'] * count)})")
        call = f"%v = call double @{function}({arguments})"
        lines.append(f"define double @__nv_{name}({arguments}) {{\n {call}\n ret double %v\n}}")
    return "\n".join(lines)


def _of_this_machine(text: str) -> str:
    """IR for the card as IR for this machine: its LLVM has one type for all pointers."""
    text = re.sub(r"^(target |!nvvm|@\"?llvm\.used).*$", "", text, flags=re.MULTILINE)
    while (shorter := _POINTER.sub("ptr", text)) != text:
        text = shorter
    for name in _THREAD:
        text = re.sub(rf'@"?llvm\.nvvm\.read\.ptx\.sreg\.{name}\.x"?', f"@card_{name}", text)
    return re.sub(r'@"?llvm\.nvvm\.barrier0"?', "@card_barrier", text)


class CardCode:
    """A kernel of the card as a function of this machine, called once for each thread."""

    def __init__(self, kernel: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        from numba.cuda import compiler, types

        with _compiling_for((9, 0)):
            library, _ = compiler._compile_pyfunc_with_fixup(kernel, arguments, device=False, abi="numba", cc=(9, 0))
            modules = library.llvm_strs
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        whole = llvm.parse_assembly(_hardware())
        for text in modules:
            whole.link_in(llvm.parse_assembly(_of_this_machine(text)))
        host = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
        machine = llvm.Target.from_default_triple().create_target_machine(opt=2, cpu=host[0], features=host[1])
        passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=1))
        passes.getModulePassManager().run(whole, passes)
        self._engine = llvm.create_mcjit_compiler(whole, machine)
        self._engine.finalize_object()
        kinds = [ctypes.c_double if kind == types.float64 else ctypes.c_int64 for kind in arguments]
        self._call = ctypes.CFUNCTYPE(None, *kinds)(self._engine.get_function_address(library._entry_name))
        self._thread, self._block = (
            ctypes.c_int32.from_address(self._engine.get_global_value_address(name)) for name in ("tid", "ctaid")
        )

    def __call__(self, threads: int, *arguments: Any) -> None:
        """Run threads, whole blocks of them."""
        values = [value.ctypes.data if isinstance(value, np.ndarray) else value for value in arguments]
        for number in range(-(-threads // THREADS) * THREADS):
            self._block.value, self._thread.value = divmod(number, THREADS)
            self._call(*values)


class CardCodeDevice(HostDevice):
    """The device in the host's memory, with the code of the card instead of the processor's kernel."""

    def __init__(self) -> None:
        super().__init__()
        self._small = {name: CardCode(*SMALL[name]) for name in SMALL if name != "multiply_add"}
        self._advance: CardCode | None = None

    def into_tiles(self, tiles: Array, rows: Array, first: int) -> None:
        self._small["into_tiles"](len(rows), tiles, np.ascontiguousarray(rows), first, *rows.shape)

    def from_tiles(self, tiles: Array, rows: Array, first: int) -> None:
        self._small["from_tiles"](len(rows), tiles, rows, first, *rows.shape)

    def advance(self, slot: int, columns: Columns, forcing: Array, first_record: int, first: int, steps: int) -> None:
        self.sent(slot)
        self.launches.append((first, steps))
        kernel = self.kernel
        if self._advance is None:
            self._advance = CardCode(advance(kernel.options, kernel.uniform), advance_types(kernel.forcing))
        self._advance(
            kernel.positions, columns.state, columns.parameters, columns.owner, columns.cells, columns.grids,
            columns.tables, forcing, kernel.cells, columns.sun, columns.day_starts, kernel.steps_per_record,
            first_record, first, steps, columns.selected, kernel.selected, columns.sums, columns.last,
        )  # fmt: skip

    def add_state(self, columns: Columns) -> None:
        selected = self.kernel.selected
        self._small["add_state"](self.kernel.positions, columns.sums, columns.selected, selected, columns.state)

    def take(self, target: Array, selected: Array, count: int, columns: Columns) -> None:
        self._small["take"](
            self.kernel.positions, target, selected, count, columns.state, columns.last, columns.destination,
            self.kernel.rows,
        )  # fmt: skip

    def take_means(self, target: Array, scale: float, columns: Columns) -> None:
        self._small["take_means"](
            self.kernel.positions, target, self.kernel.selected, columns.sums, scale, columns.destination,
            self.kernel.rows,
        )  # fmt: skip
