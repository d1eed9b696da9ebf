"""The architecture search of Figure 2 in the store: group `architectures/<operator>`."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
import zarr

from operators.architecture import ArchitectureResult
from pipeline.evaluation.reading import FloatArray, attributes, group_names
from pipeline.groups import write_group
from pipeline.store import existing_array, read_region


def architecture_label(hidden: Sequence[int]) -> str:
    """`40` or `40 x 40`."""
    return " x ".join(str(neurons) for neurons in hidden)


def write_architectures(
    root: zarr.Group, operator: str, results: Sequence[ArchitectureResult], chosen: Sequence[int]
) -> None:
    """Stores the training error (architecture, cell) of a search, and which architecture is used."""
    labels = [architecture_label(result.hidden) for result in results]
    rmsd = np.stack([np.asarray(result.training_rmsd, dtype=np.float64) for result in results])
    dataset = xr.Dataset(
        {"training_rmsd": (("architecture", "cell"), rmsd, {"units": "dB"})},
        coords={"architecture": np.array(labels, dtype=object)},
    )
    write_group(root, f"architectures/{operator}", dataset, attributes={"chosen": architecture_label(chosen)})


def stored_architectures(root: zarr.Group) -> dict[str, tuple[list[str], FloatArray, str]]:
    """Operator -> labels of the architectures, their training RMSD (architecture, cell), label of the one used."""
    found = {}
    for name in group_names(root, "architectures"):
        path = f"architectures/{name}"
        axis = existing_array(root, path, "architecture")
        known = axis.attrs["labels"]
        assert isinstance(known, list)
        labels = [str(known[int(code)]) for code in np.asarray(axis[...])]
        rmsd = np.asarray(read_region(root, path, "training_rmsd"), dtype=np.float64)
        found[name] = labels, rmsd, str(attributes(root, path).get("chosen", ""))
    return found
