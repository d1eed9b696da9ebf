"""The architecture search of Figure 2, as the training leaves it in the group `scores/architectures_<operator>`."""

import numpy as np
import zarr

from ldas.landmodel.array_types import Array
from ldas.pipeline.evaluation.reading import attributes, group_names
from ldas.pipeline.store.arrays import read_region

PREFIX = "architectures_"


def stored_architectures(root: zarr.Group) -> dict[str, tuple[list[str], Array, str]]:
    """Operator -> labels of the architectures, their training RMSD (architecture, cell), label of the one used."""
    found = {}
    for name in group_names(root, "scores"):
        if name.startswith(PREFIX):
            path = f"scores/{name}"
            known = attributes(root, path)
            rmsd = np.asarray(read_region(root, path, "training_rmsd"), dtype=np.float64)
            labels = [str(label) for label in known["labels"]]
            found[name.removeprefix(PREFIX)] = labels, rmsd, str(known.get("chosen", ""))
    return found
