"""What twin and globe make: their groups say that they are synthetic, and only such groups are ever replaced."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import zarr

from ldas.pipeline.errors import ConfigurationError, StoreError
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store.arrays import committed_sizes, dimensions, existing_group, has_group
from ldas.pipeline.store.groups import shard_regions
from ldas.pipeline.twin import SYNTHETIC_ATTRIBUTES


def check_years(config: ExperimentConfig) -> None:
    """Refuses a spin-up with a year whose weather is not made.

    Raises:
        ConfigurationError: for it.
    """
    spin_up, period = config.spin_up, config.period
    if spin_up is not None and not period.start.year <= spin_up.year <= period.end.year:
        raise ConfigurationError(
            f"spin_up.year {spin_up.year} lies outside the period {period.start} to {period.end}: synthetic weather is "
            "made for the period only"
        )


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
    """Marks groups as complete, with a checksum on every array (as `groups.write_group` leaves them).

    Of a group that became longer, what is new is added to the earlier checksum (as `groups.append_group` does it).
    """
    for path in paths:
        group = existing_group(root, path)
        old = committed_sizes(group)
        if group.attrs.get("complete") and not old:
            continue
        # What it was before, so that nothing is added twice when this was interrupted.
        known: Any = group.attrs.get("appending")
        if old and not isinstance(known, Mapping):
            known = {name: array.attrs.get("sha256", "") for name, array in group.arrays()}
            group.attrs["appending"] = known
        for name, array in group.arrays():
            sizes = dict(zip(dimensions(array), array.shape, strict=True))
            grown = any(sizes.get(dim, size) > size for dim, size in old.items())
            if old and not grown:
                continue
            digest = hashlib.sha256(str(known[name]).encode() if grown else b"")
            for region in shard_regions(array):
                begin = {dim: max(part.start, old.get(dim, 0)) for dim, part in region.items()}
                if any(begin[dim] >= part.stop for dim, part in region.items()):
                    continue
                part = np.asarray(array[tuple(slice(begin[dim], region[dim].stop) for dim in dimensions(array))])
                digest.update(np.ascontiguousarray(part).tobytes())
            array.attrs["sha256"] = digest.hexdigest()
        group.attrs["complete"] = True
