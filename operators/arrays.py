"""Operators as plain arrays and back: the one form in which they are hashed, stored and sent."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel.array_types import BoolArray
from ldas.operators.errors import OperatorFormatError
from ldas.operators.outcome import FLAG_VALUES
from ldas.operators.protocol import OperatorArrays

FORMAT_VERSION = 1


def content_hash(stored: OperatorArrays) -> str:
    """SHA-256 of everything that makes the operator: kind, attributes, every array's name, type, shape and bytes."""
    digest = hashlib.sha256()
    digest.update(json.dumps([stored.kind, stored.attributes], sort_keys=True).encode())
    for name in sorted(stored.arrays):
        array = np.ascontiguousarray(stored.arrays[name])
        little_endian = array.astype(array.dtype.newbyteorder("<"))
        digest.update(json.dumps([name, little_endian.dtype.str, array.shape]).encode())
        digest.update(little_endian.tobytes())
    return digest.hexdigest()


def required_array(
    stored: OperatorArrays, name: str, cells: int | None = None, shape: Sequence[int] | None = None
) -> NDArray[np.generic]:
    """An array of the stored operator; OperatorFormatError if it is absent, or not of `shape` (cell axis included)."""
    if name not in stored.arrays:
        raise OperatorFormatError(
            f"stored {stored.kind} operator: array {name!r} is missing among {sorted(stored.arrays)}; train it again"
        )
    array = np.asarray(stored.arrays[name])
    if cells is not None and (array.ndim == 0 or array.shape[0] != cells):
        raise OperatorFormatError(
            f"stored {stored.kind} operator: array {name!r} has shape {array.shape}, expected {cells} cells"
        )
    if shape is not None and array.shape != tuple(shape):
        raise OperatorFormatError(
            f"stored {stored.kind} operator: array {name!r} has shape {array.shape}, expected {tuple(shape)}"
        )
    return array


def required_attributes(stored: OperatorArrays, kind: str, names: Sequence[str]) -> Mapping[str, object]:
    """The attributes, after checking kind, format version and that all of `names` are there."""
    if stored.kind != kind:
        raise OperatorFormatError(f"expected a stored {kind!r} operator, got {stored.kind!r}")
    version = stored.attributes.get("format_version")
    if version != FORMAT_VERSION:
        raise OperatorFormatError(
            f"stored {kind} operator: format version {version}, this software reads {FORMAT_VERSION}; train it again"
        )
    missing = [name for name in names if name not in stored.attributes]
    if missing:
        raise OperatorFormatError(f"stored {kind} operator: attributes {missing} are missing; train it again")
    return stored.attributes


def text_tuple(value: object, what: str) -> tuple[str, ...]:
    """A list of texts from JSON; OperatorFormatError if it is anything else."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise OperatorFormatError(f"stored operator: {what} must be a list of texts, got {value!r}")
    return tuple(value)


def checked_outcome(stored: OperatorArrays, cells: int) -> NDArray[np.int8]:
    """The per-cell outcome codes; OperatorFormatError on an unknown code."""
    outcome = required_array(stored, "outcome", shape=(cells,)).astype(np.int8)
    unknown = np.setdiff1d(outcome, FLAG_VALUES)
    if unknown.size:
        raise OperatorFormatError(f"stored {stored.kind} operator: unknown outcome codes {unknown.tolist()}")
    return outcome


def check_finite(stored: OperatorArrays, names: Sequence[str], cells: BoolArray) -> None:
    """OperatorFormatError if one of the arrays is not finite in one of the cells (cell,)."""
    for name in names:
        values = np.asarray(stored.arrays[name], dtype=np.float64)[cells]
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values.reshape(values.shape[0], -1))).any(axis=1).sum())
            raise OperatorFormatError(
                f"stored {stored.kind} operator: {name!r} is not finite in {bad} of {values.shape[0]} trained cells"
            )
