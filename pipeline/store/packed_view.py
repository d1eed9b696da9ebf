"""Restarts as readers see them: an array for each field of the state, though all fields are stored in one.

What a restart costs is the number of its arrays. So the group has one, `state` (cell, patch, row), whose attribute
`fields` has the first row of each field, the number of its rows, and the name of their axis (empty where the field has
none). `ldas.pipeline.store.restart` writes and reads that; restarts of earlier versions have an array for each field.
"""

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import numpy as np
from zarr import AsyncArray
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.storage import MemoryStore, StorePath, WrapperStore

from ldas.pipeline.errors import StoreError
from ldas.pipeline.store.plain_arrays import plain_metadata

STATE, FIELDS = "state", "fields"


class Field(NamedTuple):
    """Where a field of the state lies."""

    first: int
    size: int
    axis: str

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.first, self.first + self.size)


def fields_of(attributes: Any) -> dict[str, Field]:
    """The fields of a stored state by name.

    Raises:
        StoreError: attributes that are not those of a state.
    """
    try:
        return {
            name: Field(int(first), int(size), str(axis)) for name, (first, size, axis) in attributes[FIELDS].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StoreError(
            f"a restart does not say which rows of its array '{STATE}' are of which field (attribute '{FIELDS}'): the "
            "store was changed or damaged; restore it from a copy"
        ) from None


class UnpackedView(WrapperStore[Store]):
    """A store, for reading, in which a restart has an array for each field of the state.

    path: of the restart. state: what describes its one array.
    """

    def __init__(self, store: Store, path: str, state: ArrayV3Metadata) -> None:
        super().__init__(store)
        self._path, self._state, self._fields = path, state, fields_of(state.attributes)
        self._block: tuple[int, np.ndarray] | None = None

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """See `zarr.abc.store.Store`."""
        name, _, rest = key.removeprefix(f"{self._path}/").partition("/")
        if not key.startswith(f"{self._path}/") or name not in self._fields:
            return await self._store.get(key, prototype, byte_range)
        field, spare = self._fields[name], MemoryStore()
        if rest == "zarr.json":
            content = json.dumps(self._describe(field)).encode()
        elif not rest.startswith("c/"):
            return await self._store.get(key, prototype, byte_range)
        else:
            values = (await self._values(int(rest.split("/")[1])))[..., field.rows]
            content = (values if field.axis else values[..., 0]).astype("<f8").tobytes()
        await spare.set("part", prototype.buffer.from_bytes(content))
        return await spare.get("part", prototype, byte_range)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """See `zarr.abc.store.Store`."""
        here = prefix.rstrip("/") == self._path
        async for name in self._store.list_dir(prefix):
            if not (here and name == STATE):
                yield name
        for name in self._fields if here else ():
            yield name

    def _describe(self, field: Field) -> dict[str, Any]:
        """The metadata of a field's array."""
        document: dict[str, Any] = self._state.to_dict()
        grid, end = document["chunk_grid"], [field.size] if field.axis else []
        chunks = [*grid["configuration"]["chunk_shape"][:2], *end]
        return {
            **document,
            "shape": [*document["shape"][:2], *end],
            "chunk_grid": {**grid, "configuration": {"chunk_shape": chunks}},
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "dimension_names": [*document["dimension_names"][:2], *([field.axis] if field.axis else [])],
            "attributes": {},
        }

    async def _values(self, number: int) -> np.ndarray:
        """The state of a block of cells, in the size of a chunk; kept, as its fields are read one after the other."""
        if self._block is None or self._block[0] != number:
            array: Any = AsyncArray(self._state, StorePath(self._store, f"{self._path}/{STATE}"))
            width, cells = array.chunks[0], array.shape[0]
            values = np.full(array.chunks, np.nan)
            part = slice(number * width, min((number + 1) * width, cells))
            values[: part.stop - part.start] = await array.getitem((part,))
            self._block = number, values
        return self._block[1]


async def seen_unpacked(store: Store, path: str) -> Store:
    """The store as a reader of a restart sees it."""
    place = f"{path}/{STATE}"
    document = await store.get(f"{place}/zarr.json", default_buffer_prototype())
    return store if document is None else UnpackedView(store, path, plain_metadata(document, place))
