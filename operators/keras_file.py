"""One cell's network as a standard `.keras` file that carries its scalers, and such a file back as an operator.

The file is a Keras `Sequential`: Normalization (z-score of the predictors), Dense layers, an inverted Normalization
(back to the unit of the output), all in float64: anyone with Keras can use it without this software. Names, units and
options travel in a small JSON member beside Keras' own; a file without it is read too, if the names are given.
"""

import json
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ldas.landmodel.array_types import Array
from ldas.operators.arrays import text_tuple
from ldas.operators.batched_training import import_tensorflow
from ldas.operators.checks import checked_cell_ids
from ldas.operators.errors import OperatorFormatError, OperatorMismatchError
from ldas.operators.joint import JointOperator
from ldas.operators.networks import Networks
from ldas.operators.neural import NeuralOperator
from ldas.operators.options import NeuralOptions
from ldas.operators.outcome import Outcome

_DESCRIPTION = "ldas.json"
_LAYERS = "Normalization, one Dense with relu per hidden layer, one linear Dense of 1, inverted Normalization"


def export_keras(operator: NeuralOperator, cell_id: int, path: Path | str) -> None:
    """Writes the network of one cell; `path` must end in `.keras`. An existing file is replaced when all went well.

    Raises:
        OperatorMismatchError: a cell that the operator does not have or that was not trained.
    """
    file = Path(path)
    if file.suffix != ".keras":
        raise OperatorFormatError(f"expected a file name that ends in .keras, got {file.name}")
    found = np.flatnonzero(operator.cell_ids == cell_id)
    if found.size == 0:
        raise OperatorMismatchError(
            f"no cell {cell_id} in this operator of {operator.cell_ids.size}, first {operator.cell_ids[:5].tolist()}"
        )
    cell = operator.select(found)
    if not cell.usable[0]:
        raise OperatorMismatchError(
            f"cell {cell_id} has no network to export: {cell.reasons.get(cell_id, 'untrained')}"
        )
    model = _model(cell.networks)
    description = {
        "cell_id": int(cell_id),
        "predictor_names": list(operator.predictor_names),
        "predictor_units": list(operator.predictor_units),
        **(
            {"output_names": list(operator.output_names), "output_units": list(operator.output_units)}
            if isinstance(operator, JointOperator)
            else {"output_name": operator.output_name, "output_unit": operator.output_unit}
        ),
        "options": {entry.name: getattr(operator.options, entry.name) for entry in fields(NeuralOptions)},
        "training_count": cell.networks.training_count[0].tolist(),
        "validation_count": cell.networks.validation_count[0].tolist(),
    }
    unfinished = file.with_name(f".{file.stem}.unfinished.keras")
    try:
        with _quiet_numpy():
            model.save(unfinished)
        with zipfile.ZipFile(unfinished, "a") as archive:
            archive.writestr(_DESCRIPTION, json.dumps(description))
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def import_keras(
    path: Path | str,
    *,
    cell_id: int | None = None,
    predictor_names: Sequence[str] | None = None,
    predictor_units: Sequence[str] | None = None,
    output_name: str | None = None,
    output_unit: str | None = None,
) -> NeuralOperator:
    """The operator of one cell from a `.keras` file; what is given wins over what the file says of itself.

    Raises:
        OperatorFormatError: if the file is no such network, or does not say names and units and none are given.
    """
    description = _description(Path(path))
    names: dict[str, Any] = {
        "predictor_names": predictor_names or description.get("predictor_names"),
        "predictor_units": predictor_units or description.get("predictor_units"),
    }
    several = "output_names" in description
    if several:
        names |= {name: description.get(name) for name in ("output_names", "output_units")}
    else:
        names["output_name"] = output_name or description.get("output_name")
        names["output_unit"] = output_unit or description.get("output_unit")
    missing = [name for name, value in names.items() if value is None]
    if missing:
        raise OperatorFormatError(f"{path} does not say {', '.join(missing)}: give them when importing it")
    for name in ("predictor_names", "predictor_units", *(("output_names", "output_units") if several else ())):
        names[name] = text_tuple(list(names[name]), name)
    networks = _networks(_loaded(Path(path)), path, description, cell_id)
    predictors = networks.input_mean.shape[1]
    if predictors != len(names["predictor_names"]):
        raise OperatorFormatError(f"{path}: the network has {predictors} predictors, the names are {names}")
    stored_options = {**description.get("options", {}), "hidden": tuple(bias.shape[1] for bias in networks.biases[:-1])}
    operator = (JointOperator if several else NeuralOperator)(NeuralOptions(**stored_options), **names)
    return operator.with_networks(networks)


def _model(networks: Networks) -> Any:
    """The Keras model of the only cell in `networks`."""
    import_tensorflow()
    import keras

    precise = {"dtype": "float64"}
    hidden = [keras.layers.Dense(bias.shape[1], activation="relu", **precise) for bias in networks.biases[:-1]]
    output = keras.layers.Dense(networks.biases[-1].shape[1], **precise)
    normalization = keras.layers.Normalization(**precise)
    restoring = keras.layers.Normalization(invert=True, **precise)
    inputs = keras.Input((networks.input_mean.shape[1],), **precise)
    model = keras.Sequential([inputs, normalization, *hidden, output, restoring])
    # As weights, not as the layers' arguments: those Keras turns into single precision when the file is read.
    for scaler, mean, std in (
        (normalization, networks.input_mean[0], networks.input_std[0]),
        (restoring, networks.target_mean.reshape(-1), networks.target_std.reshape(-1)),
    ):
        scaler.set_weights([mean, std**2, networks.training_count[0].max()])
        scaler.finalize_state()
    for layer, kernel, bias in zip([*hidden, output], networks.kernels, networks.biases, strict=True):
        layer.set_weights([kernel[0].astype(np.float64), bias[0].astype(np.float64)])
    return model


@contextmanager
def _quiet_numpy() -> Iterator[None]:
    """Without the warning that NumPy 2 gives about TensorFlow's tensors, which no caller can do anything about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy keyword")
        yield


def _description(path: Path) -> dict[str, Any]:
    """What the file says of itself; empty for a file made elsewhere."""
    try:
        with zipfile.ZipFile(path) as archive:
            if _DESCRIPTION not in archive.namelist():
                return {}
            content = json.loads(archive.read(_DESCRIPTION))
    except (OSError, zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise OperatorFormatError(f"{path} is not a .keras file that can be read: {error}") from error
    if not isinstance(content, dict):
        raise OperatorFormatError(f"{path}: {_DESCRIPTION} holds no description")
    return content


def _loaded(path: Path) -> Any:
    """The Keras model in the file; only Keras' own layers, no code from the file is run."""
    import_tensorflow()
    import keras

    try:
        with _quiet_numpy():
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise OperatorFormatError(f"{path} is not a Keras model that can be read: {error}") from error


def _networks(model: Any, path: Path | str, description: dict[str, Any], cell_id: int | None) -> Networks:
    """Weights and scalers of a model of the expected layers, as networks of one cell."""
    kinds = [type(layer).__name__ for layer in model.layers]
    expected = len(kinds) >= 4 and kinds == ["Normalization", *["Dense"] * (len(kinds) - 2), "Normalization"]
    expected = expected and model.layers[-1].invert and not model.layers[0].invert
    dense = model.layers[1:-1]
    activations = [layer.activation.__name__ for layer in dense] if expected else []
    outputs = len(description.get("output_names", [""]))
    if not expected or activations != ["relu"] * (len(dense) - 1) + ["linear"] or dense[-1].units != outputs:
        raise OperatorFormatError(f"{path}: expected the layers {_LAYERS}; got {', '.join(kinds)} {activations}")
    weights = [[np.asarray(part, dtype=np.float64)[None] for part in layer.get_weights()] for layer in dense]
    input_mean, input_std = _scaler(model.layers[0], weights[0][0].shape[1])
    target_mean, target_std = _scaler(model.layers[-1], outputs)
    of_target = (1, outputs) if outputs > 1 else (1,)
    identity = description.get("cell_id", 0) if cell_id is None else cell_id
    return Networks(
        cell_ids=checked_cell_ids([int(identity)], 1),
        outcome=np.array([Outcome.TRAINED], np.int8),
        kernels=tuple(kernel for kernel, _ in weights),
        biases=tuple(bias for _, bias in weights),
        input_mean=input_mean[None],
        input_std=input_std[None],
        target_mean=target_mean.reshape(of_target),
        target_std=target_std.reshape(of_target),
        training_count=np.broadcast_to(np.array(description.get("training_count", 0), np.int64), of_target),
        validation_count=np.broadcast_to(np.array(description.get("validation_count", 0), np.int64), of_target),
        training_rmsd=np.zeros((1, 0, *of_target[1:]), np.float32),
        validation_rmsd=np.zeros((1, 0, *of_target[1:]), np.float32),
    )


def _scaler(normalization: Any, width: int) -> tuple[Array, Array]:
    """Mean and standard deviation (width,) of a Normalization layer."""
    mean, variance = (
        np.broadcast_to(np.asarray(values, dtype=np.float64).reshape(-1), (width,)).copy()
        for values in (normalization.mean, normalization.variance)
    )
    return mean, np.sqrt(variance)
