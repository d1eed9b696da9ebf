"""Operators as plain arrays and back: the one form in which they are hashed, stored and sent."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel.array_types import BoolArray, IntArray
from ldas.operators.errors import OperatorFormatError
from ldas.operators.outcome import FLAG_VALUES
from ldas.operators.protocol import OperatorArrays

FORMAT_VERSION = 1


class ArrayPieces(NamedTuple):
    """An array that comes piece by piece along its first axis: type and shape of the whole."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    pieces: Iterable[NDArray[np.generic]]


def content_hash(stored: OperatorArrays) -> str:
    """SHA-256 of everything that makes the operator: kind, attributes, every array's name, type, shape and bytes."""
    arrays = {name: np.ascontiguousarray(array) for name, array in stored.arrays.items()}
    whole = {name: ArrayPieces(array.dtype, array.shape, [array]) for name, array in arrays.items()}
    return content_hash_of_pieces(stored.kind, stored.attributes, whole)


def content_hash_of_pieces(kind: str, attributes: Mapping[str, object], arrays: Mapping[str, ArrayPieces]) -> str:
    """The content hash of an operator of which no array is held as a whole."""
    digest = hashlib.sha256()
    digest.update(json.dumps([kind, attributes], sort_keys=True).encode())
    for name, (dtype, shape, pieces) in sorted(arrays.items()):
        digest.update(json.dumps([name, dtype.newbyteorder("<").str, shape]).encode())
        for piece in pieces:
            digest.update(_little_endian(piece))
    return digest.hexdigest()


def cell_checksums(stored: OperatorArrays) -> IntArray:
    """(cell,) the first eight bytes of the SHA-256 of what the arrays, all with the cell as first axis, hold of a cell.

    Never 0, which stands for a cell that was not written.
    """
    arrays = [array for _, array in sorted(stored.arrays.items())]
    of_cell = [array.nbytes // max(len(array), 1) for array in arrays]
    whole = [np.frombuffer(_little_endian(array), np.uint8) for array in arrays]
    rows = np.concatenate([b.reshape(len(a), size) for a, b, size in zip(arrays, whole, of_cell, strict=True)], axis=1)
    digests = (hashlib.sha256(row) for row in rows)
    return np.array([int.from_bytes(digest.digest()[:8], "little", signed=True) or 1 for digest in digests], np.int64)


def _little_endian(array: NDArray[np.generic]) -> bytes:
    return np.asarray(array).astype(array.dtype.newbyteorder("<"), order="C").tobytes()


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
