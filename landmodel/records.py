"""Records of a block of columns: a process reads and writes quantities by name.

`column.soil_water[layer] += change` and `work.canopy_evaporation *= free` load and store the lanes of one row. A record
is a view of one element of a NumPy structured array (`layout.py`): `record(array)` inside compiled code. A field of
`WIDTH` numbers is lanes; one of (row, WIDTH) numbers is indexed by its row; whole numbers are ordinary integers, the
same for all columns. `rows(array)` gives a (row, WIDTH) array of float64 the same form.
"""

import hashlib
import operator

from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr, infer_global, signature
from numba.extending import intrinsic, lower_getattr_generic, lower_setattr_generic, models, register_model
from numba.np import arrayobj

from ldas.landmodel.lanes import LANES, WIDTH

_BYTE_POINTER = ir.IntType(8).as_pointer()
_NUMBERS = {"lanes": ir.VectorType(ir.DoubleType(), WIDTH), "integer": ir.IntType(64)}
_BYTES = {"lanes": 8 * WIDTH, "integer": 8}


class RecordType(types.Type):
    """Numba type of a record of lanes: a pointer, whose fields are those of a NumPy record."""

    def __init__(self, fields: types.Record) -> None:
        self.fields = fields
        super().__init__(name=f"lane_record_{hashlib.sha256(fields.name.encode()).hexdigest()[:12]}")


class RowsType(types.Type):
    """Numba type of rows of lanes (or, `integer`, of whole numbers that all columns share): a pointer to the first."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(name=f"rows_of_{kind}")

    @property
    def item(self) -> types.Type:
        """Type of one row."""
        return LANES if self.kind == "lanes" else types.int64


LANE_ROWS, INTEGER_ROWS = RowsType("lanes"), RowsType("integer")


@register_model(RecordType)
class _RecordModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _BYTE_POINTER)


@register_model(RowsType)
class _RowsModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _BYTE_POINTER)


def _field(record: types.Record, name: str) -> tuple[types.Type, bool]:
    """Type of a field, and whether it is one row: a number that attributes read and assign."""
    kind = record.typeof(name)
    if not isinstance(kind, types.NestedArray):
        return types.int64, True
    if kind.dtype == types.int64:
        return INTEGER_ROWS, False
    return (LANES, True) if kind.ndim == 1 else (LANE_ROWS, False)


def _kind(of: types.Type) -> str:
    return "lanes" if of in (LANES, LANE_ROWS) else "integer"


@infer_getattr
class _RecordAttributes(AttributeTemplate):
    key = RecordType

    def generic_resolve(self, typ, attr):
        return _field(typ.fields, attr)[0] if attr in typ.fields.fields else None


def _load(builder, pointer, kind):
    return builder.load(builder.bitcast(pointer, _NUMBERS[kind].as_pointer()), align=8)


def _store(builder, value, pointer, kind):
    builder.store(value, builder.bitcast(pointer, _NUMBERS[kind].as_pointer()), align=8)


def _place(builder, pointer, offset: int):
    return builder.gep(pointer, [ir.Constant(ir.IntType(64), offset)])


@lower_getattr_generic(RecordType)
def _get_field(context, builder, typ, value, attr):
    of, single = _field(typ.fields, attr)
    place = _place(builder, value, typ.fields.offset(attr))
    return _load(builder, place, _kind(of)) if single else place


@lower_setattr_generic(RecordType)
def _set_field(context, builder, sig, args, attr):
    record, value = args
    of, _ = _field(sig.args[0].fields, attr)
    place = _place(builder, record, sig.args[0].fields.offset(attr))
    _store(builder, context.cast(builder, value, sig.args[1], of), place, _kind(of))


@infer_global(operator.getitem)
class _GetRow(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 2 and isinstance(args[0], RowsType) and isinstance(args[1], types.Integer):
            return signature(args[0].item, *args)
        return None


@infer_global(operator.setitem)
class _SetRow(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 3 and isinstance(args[0], RowsType) and isinstance(args[1], types.Integer):
            return signature(types.void, args[0], args[1], args[0].item)
        return None


def _row(context, builder, sig, args):
    kind = sig.args[0].kind
    index = context.cast(builder, args[1], sig.args[1], types.intp)
    return builder.gep(args[0], [builder.mul(index, ir.Constant(index.type, _BYTES[kind]))]), kind


@lower_builtin(operator.getitem, RowsType, types.Integer)
def _get_row(context, builder, sig, args):
    return _load(builder, *_row(context, builder, sig, args))


@lower_builtin(operator.setitem, RowsType, types.Integer, types.Any)
def _set_row(context, builder, sig, args):
    _store(builder, args[2], *_row(context, builder, sig, args))
    return context.get_dummy_value()


def _data(context, builder, array_type, array):
    data = arrayobj.make_array(array_type)(context, builder, array).data
    return builder.bitcast(data, _BYTE_POINTER)


@intrinsic
def record(typingctx, array):
    """The record of lanes in the first element of a NumPy structured array."""

    def codegen(context, builder, sig, args):
        return _data(context, builder, sig.args[0], args[0])

    return RecordType(array.dtype)(array), codegen


@intrinsic
def rows(typingctx, array):
    """Rows of lanes of a C-contiguous float64 array (row, WIDTH); of one row where it is (WIDTH,)."""

    def codegen(context, builder, sig, args):
        return _data(context, builder, sig.args[0], args[0])

    return LANE_ROWS(array), codegen
