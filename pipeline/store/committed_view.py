"""A store as readers see it while one of its groups gets longer: with the sizes that are complete.

The arrays of a group are lengthened one after the other; in between, and after a kill there, their sizes do not fit
together, which no reader of datasets accepts.
"""

import json
from collections.abc import Mapping

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore


class CommittedView(WrapperStore[Store]):
    """A store, read only, in which the arrays of a group are not longer than some sizes.

    path: of the group. sizes: by dimension.
    """

    def __init__(self, store: Store, path: str, sizes: Mapping[str, int]) -> None:
        super().__init__(store)
        self._path, self._sizes = path, dict(sizes)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """See `zarr.abc.store.Store`."""
        value = await self._store.get(key, prototype, byte_range)
        folder, _, file = key.rpartition("/")
        if value is None or file != "zarr.json" or folder.rpartition("/")[0] != self._path:
            return value
        document = json.loads(value.to_bytes())
        names = document.get("dimension_names") or ()
        if not set(names) & set(self._sizes):
            return value
        document["shape"] = [
            min(size, self._sizes.get(name, size)) for name, size in zip(names, document["shape"], strict=True)
        ]
        return prototype.buffer.from_bytes(json.dumps(document).encode())
