"""Groups that the twin makes: they say that they are synthetic, and only such groups are ever replaced."""

import hashlib
from collections.abc import Iterable

import numpy as np
import zarr

from ldas.pipeline.errors import StoreError
from ldas.pipeline.store.arrays import dimensions, existing_group, has_group
from ldas.pipeline.store.groups import shard_regions
from ldas.pipeline.twin import SYNTHETIC_ATTRIBUTES


def make_room(root: zarr.Group, paths: Iterable[str]) -> None:
    """Removes groups that an earlier, unfinished twin made.

    Raises:
        StoreError: one that is not synthetic.
    """
    paths = [path for path in paths if has_group(root, path)]
    for path in paths:
        if existing_group(root, path).attrs.get("synthetic") != SYNTHETIC_ATTRIBUTES["synthetic"]:
            raise StoreError(
                f"group '{path}' of {root.store} was not made by the twin, which would replace it: give the twin a "
                "store of its own (store.url)"
            )
    for path in paths:
        del root[path]


def mark_complete(root: zarr.Group, paths: Iterable[str]) -> None:
    """Marks groups as complete, with a checksum on every array (as `groups.write_group` leaves them)."""
    for path in paths:
        group = existing_group(root, path)
        if group.attrs.get("complete"):
            continue
        for _, array in group.arrays():
            digest = hashlib.sha256()
            for region in shard_regions(array):
                part = np.asarray(array[tuple(region[dim] for dim in dimensions(array))])
                digest.update(np.ascontiguousarray(part).tobytes())
            array.attrs["sha256"] = digest.hexdigest()
        group.attrs["complete"] = True
