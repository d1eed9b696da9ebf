"""Weights that all cells of an operator share: group `shared_weights/<name>`, from which its blocks are trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from ldas.pipeline.errors import StoreError
from ldas.pipeline.store.arrays import existing_array, existing_group, has_group
from ldas.pipeline.store.groups import remove_group, write_group
from ldas.pipeline.store.location import check_name


def shared_path(name: str) -> str:
    """Path of the group with the shared weights of an operator."""
    return f"shared_weights/{check_name(name, 'operator name')}"


def write_shared(root: zarr.Group, name: str, arrays: Mapping[str, NDArray[np.generic]], identity: str) -> None:
    """Writes the shared weights of an operator, in place of others.

    Args:
        identity: of the training that they are of.
    """
    remove_group(root, shared_path(name))
    variables = {
        array: ([f"{array}_{axis}" for axis in range(np.ndim(values))], values, {"long_name": array.replace("_", " ")})
        for array, values in arrays.items()
    }
    attributes = {"identity": identity, "arrays": sorted(arrays)}
    write_group(root, shared_path(name), xr.Dataset(variables), attributes=attributes)


def read_shared(root: zarr.Group, name: str, identity: str) -> dict[str, NDArray[np.generic]]:
    """The shared weights of an operator; StoreError where they are missing, unfinished or of another training."""
    path = shared_path(name)
    attributes: Mapping[str, Any] = existing_group(root, path).attrs.asdict() if has_group(root, path) else {}
    if not attributes.get("complete") or attributes.get("identity") != identity:
        raise StoreError(
            f"operator '{name}': its shared weights ('{path}') are missing or of another training; remove the ledgers "
            f"'ledger/train-{name}-shared' and 'ledger/train-{name}' and run again"
        )
    return {array: np.asarray(existing_array(root, path, array)[...]) for array in attributes["arrays"]}
