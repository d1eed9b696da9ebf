"""Operators that are trained block by block: the group is made first, each task writes the cells of its block, and the
last step joins what the blocks know of themselves and computes the content hash.

Until then the group is not complete, and read by those only whose cells are done.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from ldas.operators.arrays import ArrayPieces, content_hash_of_pieces
from ldas.operators.joint import JointOperator
from ldas.operators.protocol import ObservationOperator
from ldas.operators.scores import Scores, scores_of
from ldas.pipeline.errors import StoreError
from ldas.pipeline.store.arrays import dimensions, existing_array, existing_group, has_group, write_region
from ldas.pipeline.store.at_once import at_once
from ldas.pipeline.store.groups import dims_of, shard_regions
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.operator_store import operator_attributes, operator_dataset, operator_path, taken_apart
from ldas.pipeline.store.template import ArraySpec, create_template

_BLOCKS = "blocks"


def create_operator(
    root: zarr.Group,
    name: str,
    of_no_cell: ObservationOperator,
    *,
    cells_per_block: int,
    cell_ids: np.ndarray,
    coordinates: Mapping[str, np.ndarray],
    windows: Mapping[str, tuple[str, str]],
    configuration: Mapping[str, Any],
    identity: str,
) -> None:
    """Makes the group of an operator, in place of one that is there, for `write_block`.

    Args:
        of_no_cell: what `fit_block` returns for no cell.
        cell_ids: (cell,) identities.
        coordinates: (cell,) of further names, such as latitude and longitude.
        windows: first and last day by name.
        configuration: for the provenance.
        identity: of the training, known before its content hash is: another one is another operator.

    Raises:
        StoreError: an operator with arrays that cells share.
    """
    path, cells = operator_path(name), len(cell_ids)
    stored = of_no_cell.to_arrays()
    shared = [array for array, dims in stored.dimensions.items() if dims[:1] != ("cell",)]
    if shared or "cell_ids" not in stored.arrays:
        raise StoreError(
            f"operator '{name}' (kind {stored.kind}) cannot be trained by blocks: "
            + (f"{', '.join(shared)} have not the cell as first dimension" if shared else "it has no array cell_ids")
            + "; leave fit_block out of its class"
        )
    outputs = (len(of_no_cell.output_names),) if isinstance(of_no_cell, JointOperator) else ()
    nothing = scores_of(of_no_cell, np.zeros((0, 0, len(of_no_cell.predictor_names))), np.zeros((0, 0, *outputs)))
    dataset = operator_dataset(stored, of_no_cell, dict.fromkeys(windows, nothing))
    specs = {
        str(array): ArraySpec(dims_of(item), str(item.dtype), attributes=dict(item.attrs))
        for array, item in dataset.data_vars.items()
    }
    sizes = {str(dim): cells if dim == "cell" else size for dim, size in dataset.sizes.items()}
    named = {str(key): (dims_of(values), values.values) for key, values in dataset.coords.items()}
    along_cells = {key: (("cell",), values) for key, values in coordinates.items()}
    create_template(
        root,
        path,
        specs,
        coordinates={dim: ((dim,), np.arange(size, dtype="int64")) for dim, size in sizes.items()}
        | along_cells
        | named,
        chunks={"cell": cells_per_block},
        attributes={
            **operator_attributes(stored, windows, configuration),
            "identity": identity,
            "written": sorted(specs),
            "complete": False,
        },
    )
    write_region(root, path, {"cell_ids": cell_ids}, {})
    root.create_group(f"{path}/{_BLOCKS}", overwrite=True)


def is_in_blocks(root: zarr.Group, name: str) -> bool:
    """Whether an operator's group was made by `create_operator`."""
    path = operator_path(name)
    return has_group(root, path) and "identity" in existing_group(root, path).attrs


def write_block(
    root: zarr.Group,
    name: str,
    operator: ObservationOperator,
    block: Block,
    *,
    scores: Mapping[str, Scores],
    more: Mapping[str, Any],
) -> None:
    """Writes the cells of a block, and beside them what `blocks_of_operator` gives back of it.

    Args:
        scores: by window.
        more: JSON values to keep until the operator is complete.

    Raises:
        StoreError: an operator of other cells than those of the block.
    """
    path, stored = operator_path(name), taken_apart(operator, name)
    dataset = operator_dataset(stored, operator, scores)
    values = {str(array): item.values for array, item in dataset.data_vars.items()}
    if not np.array_equal(values["cell_ids"], existing_array(root, path, "cell_ids")[block.region]):
        raise StoreError(f"operator '{name}': block {block.index} is of other cells than those of the store")
    known = {"operator": stored.attributes, "usable": int(operator.usable.sum()), **more}
    root.create_group(f"{path}/{_BLOCKS}/{block.index}", overwrite=True, attributes=known)
    write_region(root, path, values, {"cell": block.region})


def blocks_of_operator(root: zarr.Group, name: str, blocks: int) -> list[Mapping[str, Any]]:
    """What each block told of itself: `operator` (its attributes), `usable` (number of cells) and what was added."""
    path = operator_path(name)
    paths = [f"{path}/{_BLOCKS}/{index}" for index in range(blocks)]
    return at_once(lambda block: existing_group(root, block).attrs.asdict(), paths)


def is_complete_operator(root: zarr.Group, name: str) -> bool:
    """Whether an operator's group is complete; removes what an interrupted `complete_operator` left."""
    path = operator_path(name)
    complete = bool(existing_group(root, path).attrs.get("complete", False))
    if complete and has_group(root, f"{path}/{_BLOCKS}"):
        del root[f"{path}/{_BLOCKS}"]
    return complete


def complete_operator(root: zarr.Group, operator: str, blocks: Sequence[Mapping[str, Any]]) -> None:
    """Joins the attributes of all blocks, computes the content hash, and has readers take the operator as complete.

    Args:
        blocks: see `blocks_of_operator`.

    Raises:
        StoreError: blocks that were trained in different ways.
    """
    path = operator_path(operator)
    group = existing_group(root, path)
    attributes = dict(blocks[0]["operator"])
    reasons: dict[str, Any] = {}
    for index, block in enumerate(blocks):
        other = {key: value for key, value in block["operator"].items() if attributes.get(key) != value}
        if other.keys() - {"reasons"} or attributes.keys() != block["operator"].keys():
            key = next(iter({*other, *attributes.keys() ^ block["operator"].keys()} - {"reasons"}))
            raise StoreError(
                f"operator '{operator}': block {index} was trained with {key} {block['operator'].get(key)}, the first "
                f"one with {attributes.get(key)}: remove the group '{path}' and the ledger of its training, and run "
                "again"
            )
        reasons |= block["operator"].get("reasons", {})
    if "reasons" in attributes:
        attributes["reasons"] = reasons
    own: Any = group.attrs["arrays"]
    written: Any = group.attrs["written"]
    arrays = {array: existing_array(root, path, array) for array in written}
    checksums = {array: hashlib.sha256() for array in written}  # as `groups.write_group` keeps them
    pieces = {name: _pieces(array, checksums[name]) for name, array in arrays.items()}
    operators = {name: ArrayPieces(arrays[name].dtype, arrays[name].shape, pieces[name]) for name in own}
    digest = content_hash_of_pieces(str(group.attrs["kind"]), attributes, operators)
    for name in arrays.keys() - operators.keys():
        for _ in pieces[name]:
            pass
    for array, checksum in checksums.items():
        existing_array(root, path, array).attrs["sha256"] = checksum.hexdigest()
    sizes = {dim: size for array in arrays.values() for dim, size in zip(dimensions(array), array.shape, strict=True)}
    group.attrs.update({"operator": attributes, "content_hash": digest, "complete": True, "committed": sizes})
    is_complete_operator(root, operator)


def _pieces(array: zarr.Array, checksum: "hashlib._Hash") -> Iterator[np.ndarray]:
    """The array in parts of whole shards, which go into the checksum."""
    for region in shard_regions(array):
        values = np.asarray(array[tuple(region[dim] for dim in dimensions(array))])
        checksum.update(values.tobytes())
        yield values
