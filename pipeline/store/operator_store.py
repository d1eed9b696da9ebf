"""Observation operators in the store: group `operators/<name>`, checked before it is written and when it is read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import ArrayLike

from ldas.operators.arrays import cell_checksums, content_hash
from ldas.operators.checks import require
from ldas.operators.errors import OperatorMismatchError
from ldas.operators.joint import JointOperator
from ldas.operators.outcome import FLAG_MEANINGS, FLAG_VALUES
from ldas.operators.protocol import ObservationOperator, OperatorArrays
from ldas.operators.registry import from_arrays
from ldas.operators.scores import Scores
from ldas.pipeline.errors import StoreError
from ldas.pipeline.store.arrays import existing_group, has_array, has_group, read_arrays, read_region
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.location import check_name
from ldas.pipeline.store.provenance import provenance

CHECKSUM = "cell_checksum"
_CELLS_PER_CHUNK = 1024
_SCORE_NAMES = {"rmsd": "root mean square difference", "correlation": "Pearson correlation", "bias": "mean difference"}


def operator_path(name: str) -> str:
    """Path of an operator's group."""
    return f"operators/{check_name(name, 'operator name')}"


def trained_with(root: zarr.Group, name: str) -> Mapping[str, Any]:
    """The section of the experiment file that a stored operator was trained with, as far as it says so."""
    path = operator_path(name)
    made: Any = existing_group(root, path).attrs.get("provenance", {}) if has_group(root, path) else {}
    return dict(made.get("configuration", {}))


def matches_overpasses(root: zarr.Group, name: str) -> bool:
    """Whether a stored operator was trained on overpasses at their own time; one that does not say it was not."""
    return bool(trained_with(root, name).get("time_matching") == "overpass")


def write_operator(
    root: zarr.Group,
    name: str,
    operator: ObservationOperator,
    *,
    windows: Mapping[str, tuple[str, str]] | None = None,
    scores: Mapping[str, Scores] | None = None,
    latitude: ArrayLike | None = None,
    longitude: ArrayLike | None = None,
    configuration: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    replace: bool = False,
) -> str:
    """Stores an operator with all that is known of it and returns its content hash.

    The same operator again changes nothing. Nothing stored is touched before the new operator has been taken apart, put
    together and compared.

    Args:
        windows: first and last day by window name ("training", "test").
        scores: the scores by window name.
        latitude, longitude: (cell,) degrees.
        configuration, inputs: for the provenance.
        notes: about the training data, kept as attribute `notes`.
        replace: whether the operator may take the place of another one of that name.

    Raises:
        StoreError: if no cell is usable, or the name is taken and `replace` is not set.
    """
    if not operator.usable.any():
        raise StoreError(
            f"operator '{name}' is usable in none of its {operator.usable.size} cells: nothing was written; "
            f"{operator.to_arrays().attributes.get('reasons', 'no reason is known')}"[:500]
        )
    stored = taken_apart(operator, name)
    digest = content_hash(stored)
    path = operator_path(name)
    dataset = operator_dataset(stored, operator, scores or {})
    for coordinate, values in (("latitude", latitude), ("longitude", longitude)):
        if values is not None:
            dataset = dataset.assign_coords({coordinate: ("cell", np.asarray(values, dtype=np.float64))})
    attributes = {
        **operator_attributes(stored, windows or {}, configuration or {}, inputs),
        "content_hash": digest,
        **({"notes": list(notes)} if notes else {}),
    }
    if has_group(root, path):
        group = existing_group(root, path)
        if group.attrs.get("complete", True):
            if group.attrs.get("content_hash") == digest:
                return digest
            if not replace:
                there = str(group.attrs.get("content_hash"))
                raise StoreError(
                    f"there is another operator '{name}' in the store (hash {there[:12]}, the new one {digest[:12]}): "
                    "choose another name or ask to replace it"
                )
            # From here on readers refuse the old operator, until the new one is complete.
            group.attrs["complete"] = False
    write_group(root, path, dataset, chunks={"cell": _CELLS_PER_CHUNK}, attributes=attributes)
    return digest


def taken_apart(operator: ObservationOperator, name: str) -> OperatorArrays:
    """An operator as arrays; StoreError unless it comes back from them as it was."""
    stored = operator.to_arrays()
    if content_hash(from_arrays(stored).to_arrays()) != content_hash(stored):
        raise StoreError(f"operator '{name}' is not restored unchanged from its own arrays: nothing was written")
    return stored


def operator_attributes(
    stored: OperatorArrays,
    windows: Mapping[str, tuple[str, str]],
    configuration: Mapping[str, Any],
    inputs: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What the group of an operator says of it, but for its content hash."""
    return {
        "kind": stored.kind,
        "operator": dict(stored.attributes),
        "arrays": sorted(stored.arrays),
        "windows": {window: list(days) for window, days in windows.items()},
        **provenance(configuration, inputs),
    }


def operator_identity(root: zarr.Group, name: str) -> str:
    """What tells a stored operator from any other: its content hash or, where it was trained by blocks, the identity of
    the training, which is known before the last cell is."""
    attributes = existing_group(root, operator_path(name)).attrs
    return str(attributes.get("identity", attributes.get("content_hash")))


def read_operator(
    root: zarr.Group,
    name: str,
    *,
    cell_ids: ArrayLike | None = None,
    in_training: bool = False,
    predictor_names: tuple[str, ...] | None = None,
    predictor_units: tuple[str, ...] | None = None,
    output_name: str | None = None,
    output_unit: str | None = None,
) -> ObservationOperator:
    """The stored operator, of the cells asked for and in their order (all by default); of one that predicts several
    observations the part that is asked for with `output_name`, or else the whole.

    Args:
        in_training: the cells asked for are trained, others may not be yet.

    Raises:
        StoreError: if it is missing or unfinished.
        OperatorFormatError: if its bytes are not those that were stored.
        OperatorMismatchError: if it was made for other cells, predictors, units or another observation than asked for.
    """
    path = operator_path(name)
    group = existing_group(root, path)
    if not (group.attrs.get("complete", False) or in_training):
        raise _unfinished(name)
    if cell_ids is not None and has_array(root, path, CHECKSUM):
        operator = _read_cells(root, name, np.asarray(cell_ids))
    else:
        operator = _read_all(root, name)
        if cell_ids is not None:
            operator = operator.select(_places(operator.cell_ids, name, np.asarray(cell_ids)))
    if isinstance(operator, JointOperator) and output_name is not None:
        operator = operator.output(output_name)
    require(
        operator,
        predictor_names=predictor_names,
        predictor_units=predictor_units,
        output_name=output_name,
        output_unit=output_unit,
    )
    return operator


def _read_all(root: zarr.Group, name: str) -> ObservationOperator:
    """All cells, checked by the content hash."""
    stored, written, _ = _read_arrays(root, name, slice(None))
    found = content_hash(stored)
    if found != written:
        raise StoreError(
            f"operator '{name}': the stored arrays have the hash {found[:12]}, {written[:12]} was written: the store "
            "was changed or damaged; train it again"
        )
    return from_arrays(stored)


def _read_cells(root: zarr.Group, name: str, cell_ids: np.ndarray) -> ObservationOperator:
    """Some cells, read without those before and after them, and checked by their checksums."""
    path = operator_path(name)
    places = _places(read_region(root, path, "cell_ids"), name, cell_ids)
    part = slice(int(places.min()), int(places.max()) + 1)
    stored, _, (written,) = _read_arrays(root, name, part, [CHECKSUM])
    chosen = places - part.start
    stored = stored._replace(arrays={array: values[chosen] for array, values in stored.arrays.items()})
    if not written[chosen].all():
        raise _unfinished(name)
    different = written[chosen] != cell_checksums(stored)
    if different.any():
        raise StoreError(
            f"operator '{name}': the stored arrays of {int(different.sum())} of {len(places)} cells are not what was "
            "written: the store was changed or damaged; train it again"
        )
    return from_arrays(stored).select(np.arange(len(places)))


def _read_arrays(
    root: zarr.Group, name: str, cells: slice, more: Sequence[str] = ()
) -> tuple[OperatorArrays, str, list[np.ndarray]]:
    """The arrays as they are stored, the content hash of all of them that is written there, and more arrays."""
    path = operator_path(name)
    attributes: Mapping[str, Any] = existing_group(root, path).attrs.asdict()
    region = {} if cells == slice(None) else {"cell": cells}
    read = read_arrays(root, path, [*attributes["arrays"], *more], region)
    arrays = {array: read[array][0] for array in attributes["arrays"]}
    stored = OperatorArrays(str(attributes["kind"]), arrays, {}, attributes["operator"])
    return stored, str(attributes.get("content_hash", "")), [read[array][0] for array in more]


def _unfinished(name: str) -> StoreError:
    return StoreError(f"operator '{name}' was never finished: train it again")


def _places(known: np.ndarray, name: str, cell_ids: np.ndarray) -> np.ndarray:
    """Where exactly these cells are among the known ones, in this order."""
    missing = cell_ids[~np.isin(cell_ids, known)]
    if missing.size:
        raise OperatorMismatchError(
            f"operator '{name}' was made for other cells: {missing.size} of the {cell_ids.size} asked for are missing, "
            f"first {missing[:5].tolist()} (it has {known.size}); train an operator for this domain"
        )
    order = np.argsort(known)
    return np.asarray(order[np.searchsorted(known, cell_ids, sorter=order)])


def operator_dataset(stored: OperatorArrays, operator: ObservationOperator, scores: Mapping[str, Scores]) -> xr.Dataset:
    """The operator's arrays, their checksums by cell, and scores, with names, units and flags."""
    dataset = xr.Dataset(
        {
            name: (stored.dimensions[name], array, _array_attributes(name, operator))
            for name, array in stored.arrays.items()
        }
    )
    if "cell_ids" in stored.arrays and all(dims[:1] == ("cell",) for dims in stored.dimensions.values()):
        attributes = {"long_name": "checksum of the operator's arrays in the cell"}
        dataset[CHECKSUM] = ("cell", cell_checksums(stored), attributes)
    several = isinstance(operator, JointOperator)
    dims = ("cell", "output") if several else ("cell",)
    for window, values in scores.items():
        for score, long_name in _SCORE_NAMES.items():
            attributes = {
                "units": "1" if score == "correlation" else operator.output_unit,
                "long_name": f"{long_name} of {operator.output_name} over the {window} window, predicted and observed",
            }
            dataset[f"{score}_{window}"] = (dims, getattr(values, score), attributes)
        long_name = f"number of pairs in the {window} window"
        dataset[f"pairs_{window}"] = (dims, values.pairs, {"units": "1", "long_name": long_name})
    if "predictor" in dataset.dims:
        dataset = dataset.assign_coords(predictor=("predictor", np.array(operator.predictor_names, dtype=object)))
    if isinstance(operator, JointOperator):
        dataset = dataset.assign_coords(output=("output", np.array(operator.output_names, dtype=object)))
    return dataset


def _array_attributes(name: str, operator: ObservationOperator) -> dict[str, Any]:
    """CF attributes of an operator's array."""
    if name == "outcome":
        return {
            "long_name": "what became of the cell in training; only trained cells are used",
            "flag_values": list(FLAG_VALUES),
            "flag_meanings": FLAG_MEANINGS,
        }
    if name in ("target_mean", "target_std", "training_rmsd", "validation_rmsd"):
        return {"units": operator.output_unit, "long_name": f"{name.replace('_', ' ')} of {operator.output_name}"}
    return {"long_name": name.replace("_", " ")}
