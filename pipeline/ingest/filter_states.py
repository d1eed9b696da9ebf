"""What an append needs to know of what it continues: `filter_states/<group>/<last day or hour>` of the store.

Where a recursive filter stands, or the last hour of a forcing before it was centred and rounded.

A state is written before the times that it belongs to become part of their group, and an earlier one removed after
that. So whenever an append is interrupted, the state of the last time that the group holds is there.
"""

import numpy as np
import xarray as xr
import zarr

from ldas.pipeline.ingest.observations import days_of
from ldas.pipeline.store import groups
from ldas.pipeline.store.arrays import FILTER_STATES, existing_group, has_group, open_dataset, open_store
from ldas.pipeline.store.location import Location


def keep(root: zarr.Group, group: str, dataset: xr.Dataset, state: xr.Dataset) -> None:
    """Writes the state that belongs to the last time of a dataset, which is about to be written to `group`."""
    path = f"{_parent(group)}/{_last(dataset)}"
    groups.remove_group(root, path)  # of an append that was interrupted
    groups.write_group(root, path, state)


def forget_earlier(root: zarr.Group, group: str, dataset: xr.Dataset) -> None:
    """Removes the states of other times than the last one of a dataset that was written to `group`."""
    for name in list(existing_group(root, _parent(group)).group_keys()):
        if name != _last(dataset):
            groups.remove_group(root, f"{_parent(group)}/{name}")


def state_of(location: Location, group: str, dataset: xr.Dataset) -> xr.Dataset | None:
    """The state of a stored group; None where an earlier version wrote it, which kept none."""
    path = f"{_parent(group)}/{_last(dataset)}"
    if not has_group(open_store(location), path):
        return None
    return open_dataset(location, path).load()


def _parent(group: str) -> str:
    return f"{FILTER_STATES}/{group.removeprefix('observations/')}"


def _last(dataset: xr.Dataset) -> str:
    """The last hour of a forcing, the last day of observations."""
    if "Tair" in dataset:
        return str(np.datetime_as_string(dataset["time"].to_numpy()[-1], unit="h"))
    return str(days_of(dataset)[-1])
