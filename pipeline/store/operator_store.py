"""Observation operators in the store: group `operators/<name>`, checked before it is written and when it is read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import ArrayLike

from ldas.operators.arrays import content_hash
from ldas.operators.checks import require
from ldas.operators.errors import OperatorMismatchError
from ldas.operators.outcome import FLAG_MEANINGS, FLAG_VALUES
from ldas.operators.protocol import ObservationOperator, OperatorArrays
from ldas.operators.registry import from_arrays
from ldas.operators.scores import Scores
from ldas.pipeline.errors import StoreError
from ldas.pipeline.store.arrays import existing_array, existing_group, has_group
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.location import check_name
from ldas.pipeline.store.provenance import provenance

_CELLS_PER_CHUNK = 1024
_SCORE_NAMES = {"rmsd": "root mean square difference", "correlation": "Pearson correlation", "bias": "mean difference"}


def operator_path(name: str) -> str:
    """Path of an operator's group."""
    return f"operators/{check_name(name, 'operator name')}"


def matches_overpasses(root: zarr.Group, name: str) -> bool:
    """Whether a stored operator was trained on overpasses at their own time; one that does not say it was not."""
    path = operator_path(name)
    made: Any = existing_group(root, path).attrs.get("provenance", {}) if has_group(root, path) else {}
    return bool(made.get("configuration", {}).get("time_matching") == "overpass")


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

    Args:
        windows: first and last day by window name ("training", "test").
        scores: the scores by window name.
        latitude, longitude: (cell,) degrees.
        configuration, inputs: for the provenance.
        notes: about the training data, kept as attribute `notes`. The same operator again changes
            nothing. Another one under a name that is taken raises StoreError unless `replace`. Nothing stored is
            touched before the new operator has been taken apart, put together and compared.
    """
    stored = operator.to_arrays()
    if not operator.usable.any():
        raise StoreError(
            f"operator '{name}' is usable in none of its {operator.usable.size} cells: nothing was written; "
            f"{stored.attributes.get('reasons', 'no reason is known')}"[:500]
        )
    digest = content_hash(stored)
    if content_hash(from_arrays(stored).to_arrays()) != digest:
        raise StoreError(f"operator '{name}' is not restored unchanged from its own arrays: nothing was written")
    path = operator_path(name)
    dataset = _dataset(stored, operator, scores or {})
    for coordinate, values in (("latitude", latitude), ("longitude", longitude)):
        if values is not None:
            dataset = dataset.assign_coords({coordinate: ("cell", np.asarray(values, dtype=np.float64))})
    attributes = {
        "kind": stored.kind,
        "operator": dict(stored.attributes),
        "arrays": sorted(stored.arrays),
        "content_hash": digest,
        "windows": {window: list(days) for window, days in (windows or {}).items()},
        **({"notes": list(notes)} if notes else {}),
        **provenance(configuration or {}, inputs),
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


def read_operator(
    root: zarr.Group,
    name: str,
    *,
    cell_ids: ArrayLike | None = None,
    predictor_names: tuple[str, ...] | None = None,
    predictor_units: tuple[str, ...] | None = None,
    output_name: str | None = None,
    output_unit: str | None = None,
) -> ObservationOperator:
    """The stored operator, of the cells asked for and in their order (all by default).

    Raises:
        StoreError: if it is missing or unfinished.
        OperatorFormatError: if its bytes are not those that were stored.
        OperatorMismatchError: if it was made for other cells, predictors, units or another observation than asked for.
    """
    path = operator_path(name)
    group = existing_group(root, path)
    if not group.attrs.get("complete", False):
        raise StoreError(f"operator '{name}' was never finished: train it again")
    attributes: Mapping[str, Any] = group.attrs.asdict()
    names = attributes["arrays"]
    stored = OperatorArrays(
        kind=str(attributes["kind"]),
        arrays={array: np.asarray(existing_array(root, path, array)[...]) for array in names},
        dimensions={},
        attributes=attributes["operator"],
    )
    found = content_hash(stored)
    if found != attributes["content_hash"]:
        written = str(attributes["content_hash"])
        raise StoreError(
            f"operator '{name}': the stored arrays have the hash {found[:12]}, {written[:12]} was written: the store "
            "was changed or damaged; train it again"
        )
    operator = from_arrays(stored)
    require(
        operator,
        predictor_names=predictor_names,
        predictor_units=predictor_units,
        output_name=output_name,
        output_unit=output_unit,
    )
    return operator if cell_ids is None else _of_cells(operator, name, np.asarray(cell_ids))


def _of_cells(operator: ObservationOperator, name: str, cell_ids: np.ndarray) -> ObservationOperator:
    """The operator of exactly these cells in this order."""
    position = {int(cell): index for index, cell in enumerate(operator.cell_ids)}
    missing = [int(cell) for cell in cell_ids if int(cell) not in position]
    if missing:
        raise OperatorMismatchError(
            f"operator '{name}' was made for other cells: {len(missing)} of the {cell_ids.size} asked for are missing, "
            f"first {missing[:5]} (it has {operator.cell_ids.size}); train an operator for this domain"
        )
    return operator.select(np.array([position[int(cell)] for cell in cell_ids], dtype=np.int64))


def _dataset(stored: OperatorArrays, operator: ObservationOperator, scores: Mapping[str, Scores]) -> xr.Dataset:
    """The operator's arrays and scores with names, units and flags."""
    dataset = xr.Dataset(
        {
            name: (stored.dimensions[name], array, _array_attributes(name, operator))
            for name, array in stored.arrays.items()
        }
    )
    for window, values in scores.items():
        for score, long_name in _SCORE_NAMES.items():
            attributes = {
                "units": "1" if score == "correlation" else operator.output_unit,
                "long_name": f"{long_name} of {operator.output_name} over the {window} window, predicted and observed",
            }
            dataset[f"{score}_{window}"] = ("cell", getattr(values, score), attributes)
        long_name = f"number of pairs in the {window} window"
        dataset[f"pairs_{window}"] = ("cell", values.pairs, {"units": "1", "long_name": long_name})
    if "predictor" in dataset.dims:
        dataset = dataset.assign_coords(predictor=("predictor", np.array(operator.predictor_names, dtype=object)))
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
