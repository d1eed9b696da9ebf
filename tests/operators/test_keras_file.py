import json
import os
import warnings
import zipfile

import numpy as np
import pytest

from ldas.operators import NeuralOperator, NeuralOptions, export_keras, import_keras
from ldas.operators.batched_training import import_tensorflow
from ldas.operators.errors import OperatorFormatError, OperatorMismatchError
from tests.operators.synthetic import region


@pytest.fixture(scope="module")
def data():
    x, y = region(3)
    y[2] = np.nan
    return x, y


@pytest.fixture(scope="module", params=[(40,), (9, 6)], ids=["one layer", "two layers"])
def operator(request, data):
    options = NeuralOptions(hidden=request.param, epochs=8, block_size=4)
    return NeuralOperator(options).fit(*data, cell_ids=[5, 7, 9])


@pytest.fixture
def file(operator, tmp_path):
    path = tmp_path / "cell7.keras"
    export_keras(operator, 7, path)
    return path


def keras_model(path):
    import_tensorflow()
    import keras

    return keras.saving.load_model(path)


def test_plain_keras_reproduces_the_numbers(operator, data, file):
    """Without this software: only the file and physical predictors."""
    x = data[0][1].astype(np.float32)  # `Model.predict` hands single precision on
    ours = operator.select([1]).predict(x[None])[0]
    model = keras_model(file)
    np.testing.assert_allclose(model.predict(x, verbose=0)[:, 0], ours, rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(np.asarray(model(data[0][1]))[:, 0], operator.predict(data[0])[1], rtol=0.0, atol=1e-12)


def test_the_scalers_are_a_normalization_layer(operator, file):
    first = keras_model(file).layers[0]
    assert type(first).__name__ == "Normalization"
    np.testing.assert_array_equal(np.asarray(first.mean).ravel(), operator.networks.input_mean[1])


def test_keras_gradient_equals_our_jacobian(operator, data, file):
    tensorflow = import_tensorflow()
    model = keras_model(file)
    x = tensorflow.constant(data[0][1])
    with tensorflow.GradientTape() as tape:
        tape.watch(x)
        output = model(x)
    gradient = tape.gradient(output, x).numpy()
    np.testing.assert_allclose(operator.jacobian(data[0])[1], gradient, rtol=1e-10, atol=1e-12)


def test_import_gives_the_operator_back(operator, data, file):
    again = import_keras(file)
    assert again.cell_ids.tolist() == [7]
    assert again.usable.all()
    assert again.options == operator.options
    assert again.predictor_names == operator.predictor_names
    assert again.predictor_units == operator.predictor_units
    assert (again.output_name, again.output_unit) == ("sigma40", "dB")
    assert again.networks.training_count[0] == operator.networks.training_count[1]
    np.testing.assert_allclose(again.predict(data[0][[1]])[0], operator.predict(data[0])[1], rtol=0.0, atol=1e-12)
    np.testing.assert_allclose(again.jacobian(data[0][[1]])[0], operator.jacobian(data[0])[1], rtol=1e-12, atol=1e-12)


def without_description(path):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != "ldas.json"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_file_made_elsewhere_needs_names(operator, data, file):
    without_description(file)
    with pytest.raises(OperatorFormatError, match="does not say predictor_names, predictor_units"):
        import_keras(file)
    names = {
        "predictor_names": ["WG2", "TG2", "LAI"],
        "predictor_units": ["m3 m-3", "K", "m2 m-2"],
        "output_name": "sigma40",
        "output_unit": "dB",
    }
    again = import_keras(file, cell_id=3, **names)
    assert again.cell_ids.tolist() == [3]
    assert again.options.hidden == operator.options.hidden
    np.testing.assert_allclose(again.predict(data[0][[1]])[0], operator.predict(data[0])[1], rtol=0.0, atol=1e-12)
    with pytest.raises(OperatorFormatError, match="the network has 3 predictors"):
        import_keras(file, **(names | {"predictor_names": ["WG2"], "predictor_units": ["m3 m-3"]}))


def test_other_networks_are_refused(tmp_path):
    import_tensorflow()
    import keras

    path = tmp_path / "other.keras"
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(1)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="__array__ implementation")  # Keras' own
        model.save(path)
    with pytest.raises(OperatorFormatError, match="expected the layers Normalization"):
        import_keras(path, predictor_names=["a"], predictor_units=["1"], output_name="sigma40", output_unit="dB")


def test_files_that_are_no_keras_files_are_refused(tmp_path, file):
    path = tmp_path / "text.keras"
    path.write_text("no archive")
    with pytest.raises(OperatorFormatError, match=r"text\.keras is not a \.keras file"):
        import_keras(path)
    with pytest.raises(OperatorFormatError, match=r"is not a \.keras file"):
        import_keras(tmp_path / "absent.keras")
    content = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        description = archive.read("ldas.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ldas.json", description)
    with pytest.raises(OperatorFormatError, match="not a Keras model"):
        import_keras(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ldas.json", json.dumps([1]))
    with pytest.raises(OperatorFormatError, match="no description"):
        import_keras(path)
    assert file.read_bytes() == content


def test_cells_that_cannot_be_exported(operator, tmp_path):
    with pytest.raises(OperatorMismatchError, match="no cell 6 in this operator of 3"):
        export_keras(operator, 6, tmp_path / "a.keras")
    with pytest.raises(OperatorMismatchError, match="no data: no valid sigma40"):
        export_keras(operator, 9, tmp_path / "a.keras")
    with pytest.raises(OperatorFormatError, match=r"ends in \.keras"):
        export_keras(operator, 7, tmp_path / "a.h5")
    assert os.listdir(tmp_path) == []
