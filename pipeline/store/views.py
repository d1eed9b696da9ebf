"""Stores as readers of a group see them, where it is not stored as it is read."""

from zarr.abc.store import Store

from ldas.pipeline.store.head_view import seen_with_head
from ldas.pipeline.store.packed_view import seen_unpacked


async def as_read(store: Store, path: str) -> Store:
    """The store for a reader of a group: a run has the days of its head, a restart an array for each field."""
    if path.startswith("runs/"):
        return await seen_with_head(store, path)
    if path.startswith("restarts/"):
        return await seen_unpacked(store, path)
    return store
