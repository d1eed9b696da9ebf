"""Records of one column in a thread: the same names as on the processor, wherever the numbers lie.

A record is a few pointers, one for each group of rows: groups in the thread's own memory, and groups given as pointers
into the card's. Each field knows its group, its first row, and how far apart its rows lie: 1 in the thread's memory and
in tables that columns share, `TILE` in tiles of columns, 0 for what is the same in all layers. A change of the layout
is a change of these tables alone (`kernel_layout.py`); no file of the physics sees it.
"""

import hashlib
import operator

from llvmlite import ir
from numba.cuda import types
from numba.cuda.cudadecl import registry as declared
from numba.cuda.cudaimpl import registry as lowered
from numba.cuda.extending import core_models, intrinsic, register_model
from numba.cuda.typing.templates import AbstractTemplate, AttributeTemplate, signature

_KINDS = {"real": types.float64, "whole": types.int64}
_IR = {"real": ir.DoubleType(), "whole": ir.IntType(64)}
_I64 = ir.IntType(64)


class RowsType(types.Type):
    """Numba type of rows of numbers: a pointer to the first, and the distance between them."""

    def __init__(self, kind, stride):
        self.kind, self.stride = kind, stride
        super().__init__(name=f"card_rows({kind}, {stride})")


class RecordType(types.Type):
    """Numba type of a record: a pointer for each group."""

    def __init__(self, layout):
        self.layout = layout
        self.groups = (*layout.own, *layout.given)
        super().__init__(name=f"card_record_{layout.name}_{hashlib.sha256(repr(layout).encode()).hexdigest()[:12]}")


class OptionsType(types.Type):
    """Numba type of the options: constants of the code."""

    def __init__(self, values):
        self.values = dict(values)
        super().__init__(name=f"card_options({values})")


@register_model(RowsType)
class _RowsModel(core_models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _IR[fe_type.kind].as_pointer())


@register_model(RecordType)
class _RecordModel(core_models.StructModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, [(g, RowsType(fe_type.layout.kind(g), 1)) for g in fe_type.groups])


@register_model(OptionsType)
class _OptionsModel(core_models.OpaqueModel):
    pass


@declared.register_attr
class _RecordAttributes(AttributeTemplate):
    key = RecordType

    def generic_resolve(self, typ, attr):
        place = typ.layout.fields.get(attr)
        if place is None:
            return None
        return RowsType(place.kind, place.stride) if place.rows else _KINDS[place.kind]


@declared.register_attr
class _OptionsAttributes(AttributeTemplate):
    key = OptionsType

    def generic_resolve(self, typ, attr):
        value = typ.values.get(attr)
        return None if value is None else types.float64 if isinstance(value, float) else types.int64


def _pointer(builder, typ, record, attr):
    """Pointer to the first row of a field."""
    place = typ.layout.fields[attr]
    base = builder.extract_value(record, typ.groups.index(place.group))
    return builder.gep(base, [ir.Constant(_I64, place.first)], inbounds=True), place


@lowered.lower_getattr_generic(RecordType)
def _get_field(context, builder, typ, value, attr):
    pointer, place = _pointer(builder, typ, value, attr)
    return pointer if place.rows else builder.load(pointer)


@lowered.lower_setattr_generic(RecordType)
def _set_field(context, builder, sig, args, attr):
    pointer, place = _pointer(builder, sig.args[0], args[0], attr)
    builder.store(context.cast(builder, args[1], sig.args[1], _KINDS[place.kind]), pointer)


@lowered.lower_getattr_generic(OptionsType)
def _get_option(context, builder, typ, value, attr):
    number = typ.values[attr]
    return ir.Constant(_IR["real" if isinstance(number, float) else "whole"], number)


@declared.register_global(operator.getitem)
class _GetRow(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 2 and isinstance(args[0], RowsType) and isinstance(args[1], types.Integer):
            return signature(_KINDS[args[0].kind], args[0], types.intp)
        return None


@declared.register_global(operator.setitem)
class _SetRow(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 3 and isinstance(args[0], RowsType) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.intp, _KINDS[args[0].kind])
        return None


def _row(builder, sig, args):
    stride = sig.args[0].stride
    if stride == 0:
        return args[0]
    index = args[1] if stride == 1 else builder.mul(args[1], ir.Constant(_I64, stride))
    return builder.gep(args[0], [index], inbounds=True)


@lowered.lower(operator.getitem, RowsType, types.Integer)
def _get_row(context, builder, sig, args):
    return builder.load(_row(builder, sig, args))


@lowered.lower(operator.setitem, RowsType, types.Integer, types.Any)
def _set_row(context, builder, sig, args):
    builder.store(args[2], _row(builder, sig, args))
    return context.get_dummy_value()


def maker(layout):
    """Function (pointers to the given groups) -> record; to be called in the kernel itself, whose memory its own groups
    take."""

    @intrinsic
    def make(typingctx, given):
        record = RecordType(layout)

        def codegen(context, builder, sig, args):
            value = ir.Constant(context.get_value_type(record), ir.Undefined)
            for number, (group, rows) in enumerate(layout.own.items()):
                with builder.goto_entry_block():  # by hand: numba-cuda's own allocation writes zeros
                    memory = builder.alloca(ir.ArrayType(_IR[layout.kind(group)], rows))
                    memory.align = 16
                first = builder.gep(memory, [ir.Constant(_I64, 0)] * 2, inbounds=True)
                value = builder.insert_value(value, first, number)
            for number in range(len(layout.given)):
                pointer = builder.extract_value(args[0], number)
                value = builder.insert_value(value, pointer, len(layout.own) + number)
            return value

        return record(given), codegen

    return make


def options_maker(values):
    """Function () -> options whose attributes are constants of the code."""

    @intrinsic
    def make(typingctx):
        options = OptionsType(values)

        def codegen(context, builder, sig, args):
            return context.get_dummy_value()

        return options(), codegen

    return make


@intrinsic
def beyond(typingctx, pointer, offset):
    """The pointer to the number that lies `offset` numbers beyond a pointer."""

    def codegen(context, builder, sig, args):
        return builder.gep(args[0], [args[1]], inbounds=True)

    return pointer(pointer, types.int64), codegen


@intrinsic
def copy_fields(typingctx, target, source):
    """Copy a record into another with the same fields, which may lie otherwise."""

    def codegen(context, builder, sig, args):
        for attr, place in sig.args[0].layout.fields.items():
            pairs = [_pointer(builder, kind, value, attr) for kind, value in zip(sig.args, args, strict=True)]
            for row in range(max(place.rows, 1)):
                to, of = (
                    builder.gep(pointer, [ir.Constant(_I64, row * where.stride)], inbounds=True)
                    for pointer, where in pairs
                )
                builder.store(builder.load(of), to)
        return context.get_dummy_value()

    return types.void(target, source), codegen
