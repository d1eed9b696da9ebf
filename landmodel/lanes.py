"""Lanes: eight columns computed at once, one per lane of a vector register.

A science function is written once, for one column, with the ordinary operators and the functions of this module.
Called with floats it computes one column; called with `Lanes` it computes `WIDTH` columns with the processor's vector
instructions. Every operation works lane by lane and branch-free, so a column's result never depends on its neighbours.

Conditions are written `where(condition, a, b)`, both sides being evaluated; `any_lane(condition)` allows a block of
columns to skip work that none of them needs (night, no snow, no ice), which must not change any lane's numbers.

On a GPU a thread is a lane: `gpu/lanes.py` has the same names. How lanes lie in memory, and how a process reads and
writes them by name, is in `records.py`.
"""

import math
import operator

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

WIDTH = 8
_DOUBLE = ir.DoubleType()
_I64 = ir.IntType(64)
_I1 = ir.IntType(1)


class LanesType(types.Type):
    """Numba type of `WIDTH` float64 values held in one vector."""

    def __init__(self) -> None:
        super().__init__(name=f"lanes_float64x{WIDTH}")

    def can_convert_from(self, typingctx, other):
        """Let a scalar be used where some branch needs lanes (it is broadcast)."""
        from numba.core.typeconv import Conversion

        return Conversion.safe if isinstance(other, types.Float | types.Integer) else None


class MaskType(types.Type):
    """Numba type of `WIDTH` truth values."""

    def __init__(self) -> None:
        super().__init__(name=f"lanes_mask_x{WIDTH}")


LANES = LanesType()
MASK = MaskType()
_VECTOR = ir.VectorType(_DOUBLE, WIDTH)
_MASK_VECTOR = ir.VectorType(_I1, WIDTH)


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _MASK_VECTOR)


_SCALARS = (types.Float, types.Integer)


def _splat(builder, value, vector_type):
    """The same scalar in every lane."""
    first = builder.insert_element(ir.Constant(vector_type, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), vector_type.count), [0] * vector_type.count)
    return builder.shuffle_vector(first, ir.Constant(vector_type, ir.Undefined), order)


def _as_lanes(context, builder, value, from_type):
    if isinstance(from_type, LanesType):
        return value
    return _splat(builder, context.cast(builder, value, from_type, types.float64), _VECTOR)


def _as_mask(builder, value, from_type):
    return value if isinstance(from_type, MaskType) else _splat(builder, value, _MASK_VECTOR)


@lower_cast(types.Float, LanesType)
@lower_cast(types.Integer, LanesType)
def _cast_scalar(context, builder, fromty, toty, val):
    return _as_lanes(context, builder, val, fromty)


def _typed(function, arguments, result):
    """Register the result type of an operator for arguments of which at least one is `arguments`."""

    @infer_global(function)
    class _Template(AbstractTemplate):
        def generic(self, args, kws):
            scalars = _SCALARS if arguments is LanesType else (types.Boolean,)
            if any(isinstance(a, arguments) for a in args) and all(isinstance(a, (arguments, *scalars)) for a in args):
                return signature(result, *args)
            return None

    return _Template


def _arithmetic(function, build) -> None:
    _typed(function, LanesType, LANES)

    def lower(context, builder, sig, args):
        left, right = (_as_lanes(context, builder, a, t) for a, t in zip(args, sig.args, strict=True))
        return build(builder, left, right)

    for left, right in (
        (LanesType, LanesType),
        *((LanesType, s) for s in _SCALARS),
        *((s, LanesType) for s in _SCALARS),
    ):
        lower_builtin(function, left, right)(lower)


for _operator, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_operator, lambda builder, a, b, name=_name: getattr(builder, name)(a, b))
for _operator, _name in (
    (operator.iadd, "fadd"),
    (operator.isub, "fsub"),
    (operator.imul, "fmul"),
    (operator.itruediv, "fdiv"),
):
    _arithmetic(_operator, lambda builder, a, b, name=_name: getattr(builder, name)(a, b))


def _comparison(function, sign: str) -> None:
    _typed(function, LanesType, MASK)

    def lower(context, builder, sig, args):
        left, right = (_as_lanes(context, builder, a, t) for a, t in zip(args, sig.args, strict=True))
        compare = builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered
        return compare(sign, left, right)

    for left, right in (
        (LanesType, LanesType),
        *((LanesType, s) for s in _SCALARS),
        *((s, LanesType) for s in _SCALARS),
    ):
        lower_builtin(function, left, right)(lower)


for _operator, _sign in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _comparison(_operator, _sign)


def _logical(function, name: str) -> None:
    _typed(function, MaskType, MASK)

    def lower(context, builder, sig, args):
        left, right = (_as_mask(builder, a, t) for a, t in zip(args, sig.args, strict=True))
        return getattr(builder, name)(left, right)

    for left, right in ((MaskType, MaskType), (MaskType, types.Boolean), (types.Boolean, MaskType)):
        lower_builtin(function, left, right)(lower)


_logical(operator.and_, "and_")
_logical(operator.or_, "or_")
_typed(operator.neg, LanesType, LANES)
_typed(operator.invert, MaskType, MASK)


@lower_builtin(operator.neg, LanesType)
def _negative(context, builder, sig, args):
    return builder.fneg(args[0])


@lower_builtin(operator.invert, MaskType)
def _not(context, builder, sig, args):
    return builder.xor(args[0], ir.Constant(_MASK_VECTOR, [1] * WIDTH))


# ---------------------------------------------------------------------------------------------------------------------
# Functions for floats and lanes alike. `Builder` writes the same instructions for a scalar or a vector.


class Builder:
    """Instructions on doubles or vectors of doubles, by the type of the first argument."""

    def __init__(self, builder, sample) -> None:
        self.builder = builder
        self.type = sample.type
        self.vector = isinstance(sample.type, ir.VectorType)
        self.integer = ir.VectorType(_I64, WIDTH) if self.vector else _I64

    def number(self, value: float):
        return ir.Constant(self.type, [value] * WIDTH if self.vector else value)

    def whole(self, value: int):
        return ir.Constant(self.integer, [value] * WIDTH if self.vector else value)

    def call(self, name: str, *args):
        """Call of an LLVM intrinsic of one, two or three arguments of this type."""
        suffix = f"v{WIDTH}f64" if self.vector else "f64"
        kind = ir.FunctionType(self.type, [self.type] * len(args))
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"{name}.{suffix}")
        return self.builder.call(function, args)

    def fma(self, a, b, c):
        """a b + c, rounded once where the processor can."""
        return self.call("llvm.fmuladd", a, b, c)

    def polynomial(self, x, coefficients: list[float]):
        """sum c_i x^i, pairwise (Estrin), so that several multiplications are under way at once."""
        terms = [self.number(c) for c in coefficients]
        power = x
        while len(terms) > 1:
            pairs = [self.fma(power, terms[i + 1], terms[i]) for i in range(0, len(terms) - 1, 2)]
            terms = pairs + ([terms[-1]] if len(terms) % 2 else [])
            power = self.builder.fmul(power, power)
        return terms[0]


_MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding it leaves the nearest whole number in the last bits of the mantissa
_MAGIC_BITS = 0x4338000000000000
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")


def build_exp(b: Builder, x):
    """2^k times the Taylor series on |r| <= ln(2)/2; relative error below 2e-16. Arguments are limited to the
    range of normal numbers: nothing in the model needs the difference between 1e-307 and 0."""
    x = b.call("llvm.minnum", b.call("llvm.maxnum", x, b.number(-708.0)), b.number(709.0))
    shifted = b.fma(x, b.number(1.0 / math.log(2.0)), b.number(_MAGIC))
    k = b.builder.fsub(shifted, b.number(_MAGIC))
    r = b.fma(k, b.number(-_LN2_LOW), b.fma(k, b.number(-_LN2_HIGH), x))
    tail = b.polynomial(r, [1.0 / math.factorial(n) for n in range(2, 14)])
    mantissa = b.builder.fadd(b.fma(b.builder.fmul(r, r), tail, r), b.number(1.0))
    exponent = b.builder.shl(b.builder.bitcast(shifted, b.integer), b.whole(52))
    return b.builder.bitcast(b.builder.add(b.builder.bitcast(mantissa, b.integer), exponent), b.type)


def build_log(b: Builder, x):
    """k ln 2 + 2 artanh(f/(2+f)) with 1+f in [sqrt(1/2), sqrt 2]; for positive normal numbers. Zero and negative
    numbers give a finite number without meaning: callers keep arguments positive and say how."""
    bits = b.builder.bitcast(x, b.integer)
    k = b.builder.ashr(b.builder.sub(bits, b.whole(0x3FE6A09E667F3BCD)), b.whole(52))
    f = b.builder.fsub(b.builder.bitcast(b.builder.sub(bits, b.builder.shl(k, b.whole(52))), b.type), b.number(1.0))
    k_real = b.builder.fsub(b.builder.bitcast(b.builder.add(k, b.whole(_MAGIC_BITS)), b.type), b.number(_MAGIC))
    s = b.builder.fdiv(f, b.builder.fadd(f, b.number(2.0)))
    z = b.builder.fmul(s, s)
    rest = b.builder.fmul(z, b.polynomial(z, [2.0 / (2 * n + 1) for n in range(1, 12)]))
    half = b.builder.fmul(b.number(0.5), b.builder.fmul(f, f))
    # log(1+f) = f - (f^2/2 - s (f^2/2 + rest)): the largest part is exact
    correction = b.fma(b.builder.fadd(half, rest), s, b.builder.fmul(k_real, b.number(_LN2_LOW)))
    return b.fma(k_real, b.number(_LN2_HIGH), b.builder.fsub(f, b.builder.fsub(half, correction)))


def _unary(build):
    """Numba intrinsic of one real argument (float, integer or lanes) from a function that writes its instructions."""

    @intrinsic
    def function(typingctx, x):
        result = LANES if isinstance(x, LanesType) else types.float64
        sig = result(result)

        def codegen(context, builder, signature, args):
            return build(Builder(builder, args[0]), args[0])

        return sig, codegen

    return function


def _binary(name: str):
    @intrinsic
    def function(typingctx, x, y):
        result = LANES if isinstance(x, LanesType) or isinstance(y, LanesType) else types.float64

        def codegen(context, builder, sig, args):
            a, b = (
                (_as_lanes(context, builder, v, t) if result is LANES else context.cast(builder, v, t, types.float64))
                for v, t in zip(args, sig.args, strict=True)
            )
            return builder.select(builder.fcmp_ordered(name, a, b), a, b)

        return result(x, y), codegen

    return function


exp = _unary(build_exp)
log = _unary(build_log)
sqrt = _unary(lambda b, x: b.call("llvm.sqrt", x))
absolute = _unary(lambda b, x: b.call("llvm.fabs", x))


def _build_arccos(b: Builder, x):
    """The C library's function, lane after lane: it is rare (Carrer's light scheme, once a step)."""
    function = cgutils.get_or_insert_function(b.builder.module, ir.FunctionType(_DOUBLE, [_DOUBLE]), "acos")
    if not b.vector:
        return b.builder.call(function, [x])
    result = ir.Constant(b.type, ir.Undefined)
    for lane in range(WIDTH):
        index = ir.Constant(ir.IntType(32), lane)
        value = b.builder.call(function, [b.builder.extract_element(x, index)])
        result = b.builder.insert_element(result, value, index)
    return result


def build_sin_squared_quarter(b: Builder, x):
    """sin^2(pi x/2) by the Taylor series of the sine; error below 2e-16 for x in [-0.1, 1]."""
    y = b.builder.fmul(x, b.number(0.5 * math.pi))
    series = b.polynomial(b.builder.fmul(y, y), [(-1) ** n / math.factorial(2 * n + 1) for n in range(12)])
    sine = b.builder.fmul(y, series)
    return b.builder.fmul(sine, sine)


arccos = _unary(_build_arccos)
half_cosine_rise = _unary(build_sin_squared_quarter)  # (1 - cos(pi x)) / 2
minimum = _binary("<")
maximum = _binary(">")


@intrinsic
def where(typingctx, condition, a, b):
    """`a` where the condition holds, else `b`; both are evaluated."""
    lanes = any(isinstance(t, (LanesType, MaskType)) for t in (condition, a, b))
    result = LANES if lanes else types.float64

    def codegen(context, builder, sig, args):
        mask, left, right = args
        if not lanes:
            return builder.select(
                mask, *(context.cast(builder, v, t, types.float64) for v, t in zip(args[1:], sig.args[1:], strict=True))
            )
        return builder.select(
            _as_mask(builder, mask, sig.args[0]) if isinstance(sig.args[0], MaskType) else mask,
            _as_lanes(context, builder, left, sig.args[1]),
            _as_lanes(context, builder, right, sig.args[2]),
        )

    return result(condition, a, b), codegen


@intrinsic
def any_lane(typingctx, condition):
    """True where the condition holds in at least one lane (or, for a scalar condition, the condition)."""

    def codegen(context, builder, sig, args):
        if not isinstance(sig.args[0], MaskType):
            return args[0]
        bits = builder.bitcast(args[0], ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(WIDTH), 0))

    return types.boolean(condition), codegen


@njit(inline="always")
def phase():
    """Stands between the processes of a step: nothing on a CPU, a place to wait for the other columns on a GPU."""


@intrinsic
def fewest_and_most(typingctx, counts):
    """The smallest and the largest of the lanes, whole numbers."""

    def codegen(context, builder, sig, args):
        lanes = [builder.extract_element(args[0], ir.Constant(ir.IntType(32), lane)) for lane in range(WIDTH)]
        fewest, *rest = [builder.fptosi(value, _I64) for value in lanes]
        most = fewest
        for value in rest:
            fewest = builder.select(builder.icmp_signed("<", value, fewest), value, fewest)
            most = builder.select(builder.icmp_signed(">", value, most), value, most)
        return context.make_tuple(builder, sig.return_type, (fewest, most))

    return types.UniTuple(types.int64, 2)(counts), codegen
