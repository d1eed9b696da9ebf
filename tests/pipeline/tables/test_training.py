import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ldas.operators import NeuralOperator, NeuralOptions, import_keras
from ldas.operators.architecture import ArchitectureResult
from ldas.operators.errors import DuplicateTimesError, EmptyTrainingWindowError
from ldas.operators.protocol import Names
from ldas.operators.sensitivity import Sensitivity
from ldas.pipeline import registry
from ldas.pipeline.errors import IngestError, RegistryError, StoreError, StoreInUseError
from ldas.pipeline.store.arrays import array_hashes, open_store
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.operator_store import read_operator
from ldas.pipeline.tables.figures import plot_architectures, plot_learning_curves, plot_sensitivity
from ldas.pipeline.tables.table import TrainingTableError, parse_window, predictor_units, read_training_table
from ldas.pipeline.tables.train import (
    ridge_rmsd,
    run_architecture_command,
    run_sensitivity_command,
    run_training_command,
)
from tests.helpers.lease_writers import somebody_writes
from tests.operators.synthetic import region
from tests.support import REPOSITORY, shared

NAMES = Names(("WG2", "TG2", "LAI"), ("m3 m-3", "K", "m2 m-2"), "sigma40", "dB")
QUICK = NeuralOptions(epochs=4, block_size=4, minimum_samples=50)
WINDOWS = {"train": "2007-01-01/2008-06-30", "test": "2008-07-01/2008-12-31"}
INTACT_TABLE = "data/ldas/isba_ascat_43.625N_0.875E_2007-2016.nc"


def table(path, *, cell=0, hours=True, **changes):
    """Two years of two overpasses every second day, LAI once a day; `changes` replace variables (None: left out)."""
    x, y = region(3, 730, missing=0.0)
    x[..., 1::2, 2] = x[..., ::2, 2]
    step = np.timedelta64(12, "h") if hours else np.timedelta64(0, "h")
    times = np.repeat(np.datetime64("2007-01-01T10", "s") + np.arange(365) * np.timedelta64(2, "D"), 2)
    times = times.astype("datetime64[s]") if hours else times.astype("datetime64[D]").astype("datetime64[s]")
    times[1::2] += step
    variables = {
        "sig": ("obs", y[cell].astype(np.float32), {"units": "dB"}),
        "WG2": ("obs", x[cell, :, 0].astype(np.float32), {"units": "m3 m-3"}),
        "TG2": ("obs", x[cell, :, 1].astype(np.float32)),
        "LAI_ISBA": ("obs", x[cell, :, 2].astype(np.float32)),
        "time": ("obs", times.astype("datetime64[ns]")),
        "lat": ((), 43.625 + 0.25 * cell),
        "lon": ((), 0.875),
    } | changes
    xr.Dataset({name: value for name, value in variables.items() if value is not None}).to_netcdf(path)
    return path


@pytest.fixture(scope="module")
def two_tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    return [table(folder / "a.nc", cell=0), table(folder / "b.nc", cell=1)]


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2007-2013", "2007-01-01", "2013-12-31"),
        ("2011", "2011-01-01", "2011-12-31"),
        ("2007-03-05/2007-04-06", "2007-03-05", "2007-04-06"),
    ],
)
def test_windows(text, first, last):
    window = parse_window(text)
    assert window.as_text() == (first, last)
    assert window.contains(np.array([f"{last}T23:59:59"], "datetime64[s]")).all()
    assert not window.contains(np.array([last], "datetime64[D]") + 1).any()


@pytest.mark.parametrize("text", ["", "2013-2007", "yesterday", "2007-01-01", "2007-13-01/2008-01-01"])
def test_windows_that_are_none(text):
    with pytest.raises(TrainingTableError, match="window"):
        parse_window(text)


def test_a_table_with_hours(tmp_path):
    read = read_training_table(table(tmp_path / "t.nc"), NAMES)
    assert read.predictors.shape == (730, 3)
    assert (read.latitude, read.longitude) == (43.625, 0.875)
    assert read.notes == ()
    daily = read.daily_means()
    assert daily.target.size == 365
    np.testing.assert_allclose(daily.target[0], read.target[:2].mean(), rtol=1e-12)
    np.testing.assert_allclose(daily.predictors[7], read.predictors[14:16].mean(axis=0), rtol=1e-12)
    assert daily.part(parse_window("2008")).times.min() >= np.datetime64("2008-01-01")


def test_leaf_area_from_biomass_is_named_as_derived(tmp_path):
    biomass = np.linspace(0.05, 0.3, 365).repeat(2)
    read = read_training_table(table(tmp_path / "t.nc", LAI_ISBA=None, BIOMA1=("obs", biomass)), NAMES)
    np.testing.assert_allclose(read.predictors[:, 2], 14.07 * biomass, rtol=1e-12)
    assert read.notes == ("LAI derived as 14.07 m2 kg-1 x BIOMA1",)


def test_rows_that_are_incomplete_are_left_out_and_counted(tmp_path):
    moisture = np.full(730, 0.3)
    moisture[5:8] = np.nan
    read = read_training_table(table(tmp_path / "t.nc", WG2=("obs", moisture)), NAMES)
    assert read.target.size == 727
    assert read.notes == ("3 of 730 rows have no target or predictor and are left out",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WG2": None}, "has no column 'WG2'; it has LAI_ISBA, TG2"),
        ({"sig": ("obs", np.zeros(730), {"units": "1"})}, "sig is in '1', expected 'dB'"),
        ({"TG2": ("level", np.zeros(3))}, r"TG2 has shape \(3,\), expected one value for each of 730 times"),
        ({"time": ("obs", np.arange(730.0))}, "'time' with dates"),
        ({"time": ("obs", np.full(730, "NaT", "datetime64[ns]"))}, "730 of 730 times are missing"),
        ({"lat": ("obs", np.arange(730.0))}, "one 'lat'"),
        ({"lon": None}, "one 'lon'"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, changes, message):
    with pytest.raises(TrainingTableError, match=message) as raised:
        read_training_table(table(tmp_path / "bad.nc", **changes), NAMES)
    assert "bad.nc" in str(raised.value)


def test_files_that_are_no_tables(tmp_path):
    (tmp_path / "text.nc").write_text("nothing")
    for name, words in (("text.nc", "not a NetCDF file"), ("absent.nc", "cannot be read")):
        with pytest.raises(IngestError, match=f"{name}: {words}"):
            read_training_table(tmp_path / name, NAMES)
    with pytest.raises(RegistryError, match="unknown variable 'SOIL'"):
        predictor_units(["SOIL"])


def test_duplicates(tmp_path):
    times = np.datetime64("2007-01-01T10", "ns") + np.arange(730) * np.timedelta64(1, "h")
    times[4] = times[3]
    with pytest.raises(DuplicateTimesError, match=r"t\.nc: 1 rows repeat an overpass, first at 2007-01-01T13"):
        read_training_table(table(tmp_path / "t.nc", time=("obs", times)), NAMES)
    # Without hours two overpasses share a date; the same values twice are a copy.
    two_a_day = read_training_table(table(tmp_path / "dates.nc", hours=False), NAMES)
    assert two_a_day.target.size == 730
    with xr.open_dataset(tmp_path / "dates.nc") as opened:
        copied = opened.load()
    for name in ("sig", "WG2", "TG2", "LAI_ISBA"):
        copied[name][11] = copied[name].values[10]
    copied.to_netcdf(tmp_path / "copies.nc")
    with pytest.raises(DuplicateTimesError, match=r"copies\.nc: 1 rows repeat an overpass, first at 2007-01-11"):
        read_training_table(tmp_path / "copies.nc", NAMES)


def test_the_command_trains_scores_and_stores(tmp_path, two_tables):
    url = tmp_path / "store.zarr"
    seen = []
    report = run_training_command(
        two_tables,
        **WINDOWS,
        options=QUICK,
        seeds=2,
        store=url,
        keras_folder=tmp_path / "keras",
        json_file=tmp_path / "figures.json",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 2), (2, 2)]
    first = report.rows[0]
    assert first["outcome"] == "trained"
    assert first["seeds"] == 2
    assert first["training_samples"] == 274
    assert first["test_samples"] == 91
    assert first["test_rmsd_std"] > 0.0
    assert json.loads((tmp_path / "figures.json").read_text())["cells"] == report.rows
    stored = read_operator(open_store(url), "sigma40")
    assert report.content_hash is not None
    np.testing.assert_array_equal(stored.cell_ids, report.operator.cell_ids)
    x = np.array([[[0.3, 285.0, 2.0]]] * 2)
    np.testing.assert_array_equal(stored.predict(x), report.operator.predict(x))
    files = sorted((tmp_path / "keras").iterdir())
    assert [import_keras(file).cell_ids[0] for file in files] == sorted(stored.cell_ids)
    assert "| 43.625 0.875 | trained | 274 | 91 |" in report.to_text()
    # By hand: the score of the stored operator is that of the first seed.
    alone = run_training_command(two_tables, **WINDOWS, options=QUICK)
    np.testing.assert_array_equal(alone.operator.predict(x), stored.predict(x))
    values = open_store(url)["operators/sigma40/rmsd_test"][...]
    np.testing.assert_array_equal(values, [row["test_rmsd_mean"] for row in alone.rows])


def test_targets_of_one_network_have_a_row_each(tmp_path):
    """Slopes that are 0.01 times backscatter, with gaps; scores are those of the stored operator, by hand."""
    _, y = region(3, 730, missing=0.0)
    slope = np.float32(0.01 * y[0])
    slope[:100] = np.nan
    path = table(tmp_path / "a.nc", slope40=("obs", slope, {"units": registry.variable("slope40").unit}))
    url, keras = tmp_path / "store", tmp_path / "keras"
    targets = ("sigma40", "slope40")
    report = run_training_command(
        [path], **WINDOWS, options=QUICK, targets=targets, store=url, name="both", keras_folder=keras
    )
    assert [row["target"] for row in report.rows] == list(targets)
    assert [row["training_samples"] for row in report.rows] == [274, 224]
    stored = read_operator(open_store(url), "both")
    names = NAMES._replace(output_name="slope40", output_unit=registry.variable("slope40").unit)
    alone = read_training_table(path, names)
    assert alone.target.size == 630
    daily = alone.daily_means().part(parse_window(WINDOWS["test"]))
    error = stored.output("slope40").predict(daily.predictors[None])[0] - daily.target
    assert report.rows[1]["test_rmsd_mean"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
    assert open_store(url)["operators/both/rmsd_test"][0, 1] == report.rows[1]["test_rmsd_mean"]
    assert "| 43.625 0.875 | slope40 (" in report.to_text()
    (file,) = keras.iterdir()
    assert file.name.startswith("sigma40_slope40_")
    with pytest.raises(TrainingTableError, match="has no column 'curvature40'"):
        run_training_command([path], **WINDOWS, options=QUICK, targets=("sigma40", "curvature40"))


def test_a_store_with_versions_is_refused_before_anything_is_made(tmp_path, two_tables):
    seen = []
    with pytest.raises(StoreError, match="written by `ldas run` and `ldas ingest` only: choose a store without vers"):
        run_training_command(
            two_tables,
            **WINDOWS,
            options=QUICK,
            store=f"icechunk+file://{tmp_path}/versions",
            progress=lambda done, total: seen.append(done),
        )
    assert not (tmp_path / "versions").exists()
    assert seen == []


def test_single_overpasses_and_daily_means_are_different_samples(two_tables):
    overpasses = run_training_command(two_tables[:1], **WINDOWS, aggregation="overpass", options=QUICK)
    assert overpasses.rows[0]["training_samples"] == 2 * 274


def test_bad_tables_harm_nothing_that_is_stored(tmp_path, two_tables):
    url = tmp_path / "store.zarr"
    run_training_command(two_tables, **WINDOWS, options=QUICK, store=url)
    before = array_hashes(url)
    linear = table(tmp_path / "linear.nc", sig=("obs", np.linspace(0.05, 0.3, 730)))
    with pytest.raises(
        TrainingTableError, match=r"no cell could be trained: linear\.nc: target out of range.*linear units"
    ):
        run_training_command([linear], **WINDOWS, options=QUICK, store=url, replace_stored=True)
    with pytest.raises(EmptyTrainingWindowError, match=r"2001-01-01 to 2002-12-31 \(a\.nc: 2007-01-01.* to 2008-12-29"):
        run_training_command(two_tables[:1], train="2001-2002", test="2008", options=QUICK, store=url)
    with pytest.raises(TrainingTableError, match="no table was given"):
        run_training_command([], options=QUICK, store=url)
    with pytest.raises(TrainingTableError, match="aggregation must be"):
        run_training_command(two_tables, **WINDOWS, aggregation="weekly", options=QUICK, store=url)
    with pytest.raises(TrainingTableError, match="at least one seed"):
        run_training_command(two_tables, **WINDOWS, seeds=0, options=QUICK, store=url)
    with somebody_writes(Location(str(url)), tmp_path), pytest.raises(StoreInUseError, match="written by the test on"):
        run_training_command(two_tables, **WINDOWS, options=QUICK, store=url, replace_stored=True)
    assert array_hashes(url) == before


def test_a_bad_cell_beside_a_good_one_is_reported(tmp_path, two_tables):
    leafy = table(tmp_path / "leafy.nc", cell=2, LAI_ISBA=("obs", np.full(730, 25.0)))
    report = run_training_command([*two_tables[:1], leafy], **WINDOWS, options=QUICK, json_file=tmp_path / "f.json")
    good, bad = report.rows
    assert good["outcome"] == "trained"
    assert bad["outcome"] == "predictor out of range"
    assert "LAI (m2 m-2) is 25 to 25" in bad["reason"]
    assert json.loads((tmp_path / "f.json").read_text())["cells"][1]["test_rmsd_mean"] is None


def test_ridge_regression_is_that_of_the_normal_equations():
    x, y = region(1, 300, missing=0.0)
    training, test = (x[:, :200], y[:, :200]), (x[:, 200:], y[:, 200:])
    from ldas.pipeline.tables.train import Samples

    scaled = np.column_stack(
        [np.ones(200), (training[0][0] - training[0][0].mean(axis=0)) / training[0][0].std(axis=0)]
    )
    weights = np.linalg.solve(scaled.T @ scaled + np.diag([0.0, 1.0, 1.0, 1.0]), scaled.T @ training[1][0])
    scaled_test = (test[0][0] - training[0][0].mean(axis=0)) / training[0][0].std(axis=0)
    error = weights[0] + scaled_test @ weights[1:] - test[1][0]
    np.testing.assert_allclose(ridge_rmsd(Samples(*training), Samples(*test)), np.sqrt(np.mean(error**2)), rtol=1e-10)


def test_architecture_search_with_its_box_plot(tmp_path, two_tables):
    results = run_architecture_command(
        two_tables,
        **WINDOWS,
        options=QUICK,
        architectures=((40,), (4, 4)),
        figure_file=tmp_path / "figure2.png",
        json_file=tmp_path / "figure2.json",
    )
    assert [result.hidden for result in results] == [(40,), (4, 4)]
    content = json.loads((tmp_path / "figure2.json").read_text())["architectures"]
    assert content[0]["training_rmsd_quartiles"][2] == pytest.approx(np.median(results[0].training_rmsd))
    assert (tmp_path / "figure2.png").read_bytes().startswith(b"\x89PNG")


def test_sensitivity_command(tmp_path, two_tables):
    operator = run_training_command(two_tables, **WINDOWS, options=QUICK).operator
    found = run_sensitivity_command(
        two_tables, operator, period="2007-01-01/2008-06-30", json_file=tmp_path / "figure3.json"
    )
    assert found.difference.shape == (2, 3)
    content = json.loads((tmp_path / "figure3.json").read_text())
    np.testing.assert_array_equal(content["difference"], found.difference)
    assert content["predictor_names"] == ["WG2", "TG2", "LAI"]


def test_box_plot_has_two_panels_a_line_and_the_chosen_in_bold(tmp_path):
    generator = np.random.default_rng(0)
    results = [
        ArchitectureResult(hidden, generator.uniform(0.2, 0.5, 20), None, 1.0)
        for hidden in ((5,), (40,), (5, 5), (40, 40))
    ]
    results[0].training_rmsd[3] = np.nan
    figure = plot_architectures(results, tmp_path / "boxes.png")
    assert len(figure.axes) == 2
    bold = [
        label.get_text() for axis in figure.axes for label in axis.get_xticklabels() if label.get_fontweight() == "bold"
    ]
    assert bold == ["40"]
    assert any(line.get_linestyle() == "--" and line.get_ydata()[0] == 0.33 for line in figure.axes[0].get_lines())


def test_sensitivity_maps_and_learning_curves(tmp_path):
    sensitivity = Sensitivity(
        ("WG2", "LAI"), np.ones(3), np.ones((3, 2)), np.array([[0.1, 0.2], [0.3, 0.1], [np.nan] * 2])
    )
    figure = plot_sensitivity(sensitivity, [43.0, 44.0, 45.0], [0.0, 1.0, 2.0], tmp_path / "maps.png")
    assert [axis.get_title() for axis in figure.axes[:2]] == ["WG2 held at its mean", "LAI held at its mean"]
    x, y = region(2, 200)
    operator = NeuralOperator(QUICK).fit(x, y)
    curves = plot_learning_curves(operator, tmp_path / "curves.png")
    assert [line.get_label() for line in curves.axes[0].get_lines()] == ["training", "validation"]


def test_the_intact_cell_reaches_the_figures_of_the_experiment():
    """43.625N 0.875E, daily means, 10 seeds: R of at least 0.82 on average, and a lower RMSD than ridge regression."""
    report = run_training_command([shared(INTACT_TABLE)], options=NeuralOptions(block_size=4), seeds=10)
    (row,) = report.rows
    assert (row["training_samples"], row["test_samples"]) == (2227, 1090)
    assert row["notes"] == []
    assert row["test_correlation_mean"] >= 0.82
    assert row["test_rmsd_mean"] < row["ridge_test_rmsd"]


@pytest.mark.long
def test_the_benchmark_runs(tmp_path, capsys):
    specification = importlib.util.spec_from_file_location("bench", Path(REPOSITORY) / "benchmarks/train_operators.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    sizes = ["--cells", "3", "--samples", "150", "--epochs", "2", "--keras-cells", "1", "--seeds", "0"]
    module.main([*sizes, "--json", str(tmp_path / "b.json")])
    figures = json.loads((tmp_path / "b.json").read_text())
    for name in ("seconds_all_cells", "keras_seconds_per_cell", "ratio_to_keras_per_cell", "peak_memory_mb"):
        assert figures[name] > 0.0
    assert figures["prediction"]["predict_and_jacobian_ms"] > 0.0
    assert "seconds_all_cells" in capsys.readouterr().out
