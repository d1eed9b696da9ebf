import numpy as np
import pytest
import zarr

from ldas import open_run
from ldas.operators import DirectOperator, NeuralOperator, NeuralOptions, Outcome, WaterCloudOperator
from ldas.operators.arrays import content_hash
from ldas.operators.errors import OperatorMismatchError
from ldas.operators.networks import Networks
from ldas.operators.scores import score
from ldas.pipeline.errors import StoreError
from ldas.pipeline.store.arrays import array_hashes, decode_labels, open_dataset, open_store
from ldas.pipeline.store.operator_store import operator_path, read_operator, write_operator

CELLS = np.array([9, 4, 70])


def neural(seed=0, outcome=(0, 2, 0)):
    """A small operator with random weights; the second cell was not trained."""
    generator = np.random.default_rng(seed)
    outcomes = np.array(outcome, np.int8)
    kernels = [generator.normal(size=(3, 3, 5)).astype(np.float32), generator.normal(size=(3, 5, 1)).astype(np.float32)]
    biases = [generator.normal(size=(3, 5)).astype(np.float32), generator.normal(size=(3, 1)).astype(np.float32)]
    for array in (*kernels, *biases):
        array[outcomes != 0] = np.nan
    networks = Networks(
        cell_ids=CELLS,
        outcome=outcomes,
        kernels=tuple(kernels),
        biases=tuple(biases),
        input_mean=np.tile([0.25, 285.0, 2.0], (3, 1)),
        input_std=np.tile([0.06, 7.0, 1.0], (3, 1)),
        target_mean=np.full(3, -10.0),
        target_std=np.ones(3),
        training_count=np.array([900, 0, 800]),
        validation_count=np.array([90, 0, 80]),
        training_rmsd=generator.random((3, 4)).astype(np.float32),
        validation_rmsd=np.full((3, 4), np.nan, np.float32),
    )
    return NeuralOperator(NeuralOptions(hidden=(5,), epochs=4)).with_networks(networks)


def predictors():
    return np.array([0.25, 285.0, 2.0]) * np.random.default_rng(3).uniform(0.9, 1.1, (3, 6, 3))


@pytest.fixture
def url(tmp_path):
    return tmp_path / "experiment.zarr"


def store(url, operator, name="sigma40", **options):
    return write_operator(open_store(url, "a"), name, operator, **options)


def test_written_and_read_back_exactly(url):
    operator = neural()
    digest = store(url, operator)
    again = read_operator(open_store(url), "sigma40")
    assert digest == content_hash(operator.to_arrays()) == content_hash(again.to_arrays())
    np.testing.assert_array_equal(again.predict(predictors()), operator.predict(predictors()))
    np.testing.assert_array_equal(again.jacobian(predictors()), operator.jacobian(predictors()))
    assert again.options == operator.options


@pytest.mark.parametrize("kind", ["direct", "water_cloud"])
def test_every_kind_of_operator(url, kind):
    if kind == "direct":
        operator = DirectOperator.surface_soil_moisture(CELLS)
        x = predictors()[..., :1]
    else:
        generator = np.random.default_rng(0)
        x = np.stack([generator.uniform(0.1, 0.4, (3, 200)), generator.uniform(0.3, 5.0, (3, 200))], axis=-1)
        operator = WaterCloudOperator().fit(x, -14.0 + 20.0 * x[..., 0], cell_ids=CELLS)
    store(url, operator, kind)
    again = read_operator(open_store(url), kind)
    assert type(again) is type(operator)
    np.testing.assert_array_equal(again.predict(x), operator.predict(x))


def test_the_group_tells_what_it_holds(url):
    operator = neural()
    observed = np.full((3, 6), -10.0)
    found = score(np.where(operator.usable[:, None], operator.predict(predictors()), np.nan), observed)
    store(
        url,
        operator,
        windows={"training": ("2007-01-01", "2013-12-31"), "test": ("2014-01-01", "2016-12-31")},
        scores={"training": found, "test": found},
        latitude=[43.625, 43.875, 44.125],
        longitude=[0.875, 0.875, 0.875],
        configuration={"seed": 0},
        inputs={"table.nc": "abc"},
    )
    dataset = open_dataset(url, operator_path("sigma40"))
    np.testing.assert_array_equal(dataset["rmsd_test"], found.rmsd)
    np.testing.assert_array_equal(dataset["pairs_training"], found.pairs)
    assert dataset["rmsd_test"].attrs["units"] == "dB"
    assert dataset["kernel_0"].dims == ("cell", "predictor", "neuron_0")
    assert dataset["kernel_1"].dims == ("cell", "neuron_0", "output")
    assert decode_labels(dataset["predictor"]).tolist() == ["WG2", "TG2", "LAI"]
    meanings = dataset["outcome"].attrs["flag_meanings"].split()
    assert meanings[dataset["outcome"].values[1]] == "too_few_samples"
    assert dataset["outcome"].attrs["flag_values"] == [int(code) for code in Outcome]
    assert dataset["latitude"].values.tolist() == [43.625, 43.875, 44.125]
    attributes = dataset.attrs
    assert attributes["windows"]["test"] == ["2014-01-01", "2016-12-31"]
    assert attributes["operator"]["options"]["seed"] == 0
    assert attributes["operator"]["predictor_units"] == ["m3 m-3", "K", "m2 m-2"]
    assert attributes["provenance"]["inputs"] == {"table.nc": "abc"}
    assert (
        "tensorflow-cpu" in attributes["provenance"]["libraries"]
        or "tensorflow" in attributes["provenance"]["libraries"]
    )
    assert "operators/sigma40" in {node.path.lstrip("/") for node in open_run(url).subtree}


def test_only_numbers_are_stored(url):
    store(url, neural())
    for array in open_store(url)["operators/sigma40"].array_values():
        assert array.dtype.kind in "fi"


def test_the_same_operator_again_changes_nothing(url):
    first = store(url, neural())
    before = array_hashes(url)
    assert store(url, neural()) == first
    assert array_hashes(url) == before


def test_another_operator_does_not_overwrite_unless_asked(url):
    store(url, neural())
    before = array_hashes(url)
    with pytest.raises(StoreError, match="another operator 'sigma40' in the store"):
        store(url, neural(seed=1))
    assert array_hashes(url) == before
    digest = store(url, neural(seed=1), replace=True)
    assert content_hash(read_operator(open_store(url), "sigma40").to_arrays()) == digest
    assert array_hashes(url) != before


def test_an_interrupted_replacement_is_refused_and_can_be_repeated(url, monkeypatch):
    from ldas.pipeline.store import operator_store as module

    store(url, neural())
    monkeypatch.setattr(module, "write_group", lambda *arguments, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store(url, neural(seed=1), replace=True)
    with pytest.raises(StoreError, match="never finished"):
        read_operator(open_store(url), "sigma40")
    monkeypatch.undo()
    store(url, neural(seed=1))
    assert read_operator(open_store(url), "sigma40").usable.any()


def test_damaged_bytes_are_noticed(url):
    store(url, neural())
    root = zarr.open_group(str(url), mode="a", use_consolidated=False)
    root["operators/sigma40/bias_0"][2, 3] = 0.5
    with pytest.raises(StoreError, match="was changed or damaged; train it again"):
        read_operator(open_store(url), "sigma40")


def test_a_missing_operator_names_those_that_are_there(url):
    store(url, neural())
    with pytest.raises(StoreError, match=r"group 'operators/other' .*not in the store; there are: .*operators/sigma40"):
        read_operator(open_store(url), "other")
    with pytest.raises(StoreError, match="cannot be used in a store"):
        store(url, neural(), name="../escape")


def test_the_cells_of_a_task_in_its_order(url):
    operator = neural()
    store(url, operator)
    part = read_operator(open_store(url), "sigma40", cell_ids=[70, 9])
    assert part.cell_ids.tolist() == [70, 9]
    np.testing.assert_array_equal(part.predict(predictors()[[2, 0]]), operator.predict(predictors())[[2, 0]])
    with pytest.raises(OperatorMismatchError, match=r"2 of the 3 asked for are missing, first \[5, 6\]"):
        read_operator(open_store(url), "sigma40", cell_ids=[9, 5, 6])


@pytest.mark.parametrize(
    "asked",
    [
        {"predictor_names": ("WG3", "TG2", "LAI")},
        {"predictor_units": ("m3 m-3", "degC", "m2 m-2")},
        {"output_name": "ssm"},
        {"output_unit": "1"},
    ],
)
def test_an_operator_for_something_else_is_refused(url, asked):
    store(url, neural())
    with pytest.raises(OperatorMismatchError, match="the run asks for"):
        read_operator(open_store(url), "sigma40", **asked)


def test_an_operator_without_a_usable_cell_replaces_nothing(url):
    store(url, neural())
    before = array_hashes(url)
    with pytest.raises(StoreError, match="usable in none of its 3 cells: nothing was written"):
        store(url, neural(outcome=(1, 2, 3)), replace=True)
    assert array_hashes(url) == before


def test_an_operator_that_does_not_come_back_is_not_written(url):
    operator = neural()
    broken = operator.to_arrays()

    class Broken(NeuralOperator):
        def to_arrays(self):
            return broken._replace(attributes={**broken.attributes, "extra": 1})

    bad = Broken(operator.options)
    bad._set(operator.networks, {}, {})
    with pytest.raises(StoreError, match="nothing was written"):
        store(url, bad)
    assert not list(open_store(url).group_keys())
