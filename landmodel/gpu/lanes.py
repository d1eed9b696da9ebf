"""The card's side of the lanes: a thread is a lane, and numbers are float64.

The names are those of `landmodel/lanes.py` that the physics uses, with the same polynomials, so the same digits as far
as the hardware rounds alike (it contracts products with sums, and divides and takes roots its own way).
"""

from llvmlite import ir
from numba import cuda
from numba.cuda import cgutils, types
from numba.cuda.extending import intrinsic

from ldas.landmodel import lanes as processor

_DOUBLE = ir.DoubleType()
_LIBRARY = {  # of the compiler, for what the processor's instructions are
    "llvm.fmuladd": "__nv_fma", "llvm.minnum": "__nv_fmin", "llvm.maxnum": "__nv_fmax", "llvm.sqrt": "__nv_sqrt",
    "llvm.fabs": "__nv_fabs", "acos": "__nv_acos",
}  # fmt: skip


class _Builder(processor.Builder):
    """Instructions on doubles, with the functions of the card's compiler."""

    def call(self, name, *args):
        kind = ir.FunctionType(_DOUBLE, [_DOUBLE] * len(args))
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, _LIBRARY[name]), args)


def _called(name, build, builder, value):
    """Call of a function that is in the code once: inlined everywhere, exp and log made the code half as large again,
    and the kernel a third slower (docs/performance.md)."""
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(_DOUBLE, [_DOUBLE]), name)
        function.linkage = "linkonce_odr"
        function.attributes.add("noinline")
        inside = ir.IRBuilder(function.append_basic_block())
        inside.ret(build(_Builder(inside, function.args[0]), function.args[0]))
    return builder.call(function, [value])


def _unary(build, name=""):
    """Function of one number from a function that writes its instructions; `name`: called, not inlined."""

    @intrinsic
    def function(typingctx, x):
        def codegen(context, builder, sig, args):
            return _called(name, build, builder, args[0]) if name else build(_Builder(builder, args[0]), args[0])

        return types.float64(types.float64), codegen

    return function


def _binary(sign):
    @intrinsic
    def function(typingctx, x, y):
        def codegen(context, builder, sig, args):
            return builder.select(builder.fcmp_ordered(sign, *args), *args)

        return types.float64(types.float64, types.float64), codegen

    return function


exp = _unary(processor.build_exp, "ldas_exp")
log = _unary(processor.build_log, "ldas_log")
sqrt = _unary(lambda b, x: b.call("llvm.sqrt", x))
absolute = _unary(lambda b, x: b.call("llvm.fabs", x))
arccos = _unary(lambda b, x: b.call("acos", x))
half_cosine_rise = _unary(processor.build_sin_squared_quarter)
minimum = _binary("<")
maximum = _binary(">")


@intrinsic
def where(typingctx, condition, a, b):
    """`a` where the condition holds, else `b`; both are evaluated."""

    def codegen(context, builder, sig, args):
        return builder.select(*args)

    return types.float64(types.boolean, types.float64, types.float64), codegen


@cuda.jit(device=True)
def any_lane(condition):
    """The condition: a thread skips what it does not need."""
    return condition


@cuda.jit(device=True)
def phase():
    """Wait for the other threads of the block. They share nothing; but together they find the code, and the rows of
    neighbours, in the caches: without this the kernel was 1.8 times as slow (docs/performance.md)."""
    cuda.syncthreads()


@cuda.jit(device=True)
def fewest_and_most(count):
    """The number, twice."""
    whole = int(count)
    return whole, whole
