"""Evaluation of whole stores, against the same numbers worked out by hand; and of stores that lack things."""

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ldas.assim.quality import Quality
from ldas.operators import JointOperator, NeuralOptions
from ldas.operators.cells import cell_ids_from_coordinates
from ldas.operators.outcome import Outcome
from ldas.pipeline import registry
from ldas.pipeline.evaluation import other_models
from ldas.pipeline.evaluation.errors import EvaluationError
from ldas.pipeline.evaluation.evaluate import evaluate
from ldas.pipeline.evaluation.plan import make_plan
from ldas.pipeline.evaluation.scores import Scores
from ldas.pipeline.evaluation.stations import is_synthetic
from ldas.pipeline.evaluation.summary import summary
from ldas.pipeline.evaluation.tables import patch_table, score_table, station_table
from ldas.pipeline.execution.cluster import connected
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.store.arrays import array_hashes, open_dataset, open_run, open_store, read_region
from ldas.pipeline.store.operator_store import write_operator
from tests.pipeline.evaluation.synthetic_store import START, Synthetic, make_store

SMALL = Synthetic(rows=3, columns=3, days=200, open_loop_days_before=120, cells_per_block=3)
BARE = replace(SMALL, operator=False, stations=False, forcing=False, second_experiment=False)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Scores:
    """A twin with two experiments, whose errors are half those of the open loop."""
    return evaluate(make_store(tmp_path_factory.mktemp("synthetic"), replace(SMALL, truth=True)))


def _stored(evaluation: Scores, path: str, name: str) -> np.ndarray:
    dataset = open_dataset(evaluation.location, path)
    return dataset[name].sel(time=slice(START, None)).values.astype(float)


def test_scores_are_those_of_the_stored_series(evaluation: Scores) -> None:
    truth = _stored(evaluation, "truth", "TG2")
    scores = evaluation.dataset("TG2_truth")
    for series, path, name in (
        ("open_loop", "runs/open_loop", "TG2"),
        ("ekf", "runs/ekf", "TG2_forecast"),
        ("ekf (analysis)", "runs/ekf", "TG2"),
    ):
        model = _stored(evaluation, path, name)
        expected = np.sqrt(((model - truth) ** 2).mean(axis=0))
        assert np.allclose(scores.rmsd.sel(series=series), expected, rtol=1e-5)
        assert (scores.n.sel(series=series) == len(truth)).all()


def test_forecast_and_analysis_are_both_scored_and_the_forecast_comes_first(evaluation: Scores) -> None:
    labels = list(evaluation.dataset("LAI_truth")["series"].values)
    assert labels == ["open_loop", "ekf", "ekf (analysis)", "ekf_swi_lai", "ekf_swi_lai (analysis)"]
    rmsd = evaluation.dataset("LAI_truth").rmsd
    assert (rmsd.sel(series="ekf") < rmsd.sel(series="open_loop")).all()
    assert (rmsd.sel(series="ekf (analysis)") < rmsd.sel(series="ekf")).all()


def test_backscatter_of_the_open_loop_is_predicted_by_the_stored_operator(evaluation: Scores) -> None:
    assert "sigma40" not in open_store(evaluation.location)["runs/open_loop"]
    scores = evaluation.dataset("sigma40_observations")
    assert np.isfinite(scores.rmsd.sel(series="open_loop")).all()
    # The second experiment did not assimilate backscatter: predicted from its states, it is that of the first.
    assert np.allclose(scores.rmsd.sel(series="ekf"), scores.rmsd.sel(series="ekf_swi_lai"), rtol=1e-4)


def test_days_that_a_run_found_masked_count_for_no_run(evaluation: Scores) -> None:
    observed = open_dataset(evaluation.location, "observations/sigma40").sel(time=slice(START, None))
    usable = np.isfinite(observed.value.values) & (observed.quality.values == Quality.USED)
    usable[:20] = False  # frozen in the first twenty days, says the run
    scores = evaluation.dataset("sigma40_observations")
    assert (scores.n == usable.sum(axis=0)).all()


def test_correlation_only_where_units_differ(evaluation: Scores) -> None:
    scores = evaluation.dataset("swi_observations")
    assert "rmsd" not in scores
    assert "rmsd_month" not in scores
    assert (scores.r.sel(series="ekf") > scores.r.sel(series="open_loop")).all()
    assert scores.r_month.sizes["month"] == 12
    assert scores.r_season.sizes["season"] == 4


def test_months_add_up(evaluation: Scores) -> None:
    scores = evaluation.dataset("sigma40_observations")
    assert np.array_equal(scores.n_month.sum("month"), scores.n)
    assert np.array_equal(scores.n_season.sum("season"), scores.n)


def test_the_water_balance_is_that_of_the_stored_rates(evaluation: Scores) -> None:
    balance = evaluation.dataset("balance_ekf")
    year = 86400 * 365.25
    assert np.allclose(balance.precipitation, 2.0e-5 * year, rtol=1e-5)
    assert np.allclose(balance.drainage, 4.0e-6 * year, rtol=1e-5)
    increments = _stored(evaluation, "runs/ekf", "increment_WG2")
    assert np.allclose(balance.added_by_analysis, increments.mean(axis=0) * 0.03 * 1000 * 365.25, rtol=1e-4)
    assert "added_by_analysis" not in evaluation.dataset("balance_open_loop")


def test_innovations_and_quality_codes(evaluation: Scores) -> None:
    innovation = _stored(evaluation, "runs/ekf", "innovation_sigma40")
    daily = evaluation.dataset("daily_ekf")
    assert np.allclose(daily.innovation_sigma40_mean[20:], innovation[20:].mean(axis=1), atol=1e-6)
    assert np.allclose(daily.innovation_sigma40_spread[20:], innovation[20:].std(axis=1), atol=1e-5)
    assert np.isnan(daily.innovation_sigma40_mean[:20]).all()
    statistics = evaluation.dataset("innovations_ekf_sigma40")
    variance = (innovation[20:].astype(float) ** 2).mean(axis=0)
    assert np.allclose(statistics.observation_variance, 0.25 * variance, rtol=1e-5)
    assert np.allclose(statistics.background_variance, 0.75 * variance, rtol=1e-5)
    found = evaluation.dataset("consistency_ekf")
    assert np.allclose(found.chi_square, 2.0)
    assert np.allclose(found.chi_square_season[:3], 2.0)
    assert np.isnan(found.chi_square_season[3]).all()  # 200 days from 1 January
    counts = evaluation.dataset("quality_ekf").sigma40.values
    assert counts[Quality.MASKED_FROZEN] == 20 * innovation.shape[1]
    assert counts.sum() == innovation.size


def test_lags_influence_and_spread_of_innovations(evaluation: Scores) -> None:
    innovation = _stored(evaluation, "runs/ekf", "innovation_sigma40")[20:]
    found = evaluation.dataset("innovations_ekf_sigma40")
    anomaly = innovation - innovation.mean(axis=0)
    expected = (anomaly[3:] * anomaly[:-3]).sum(axis=0) / (anomaly**2).sum(axis=0)
    assert np.allclose(found.lag_correlation.sel(lag=3), expected, atol=1e-6)
    assert (found.used == 180).all()
    assert np.allclose(found.influence, 0.75)
    square = (innovation**2).mean(axis=0)  # chi-square of 2: S is half of it
    assert np.allclose(found.spread**2, 0.75 * square / 2, rtol=1e-5)
    assert np.allclose(found.skill**2, square - 0.25 * square / 2, rtol=1e-5)
    assert np.allclose(found.found, np.sqrt(2.0) * found.expected, rtol=1e-5)
    several = evaluation.dataset("innovations_ekf_swi_lai_lai")  # never alone: with soil moisture every day
    assert np.isnan(several.spread).all()
    assert (several.used == 18).all()


def test_three_series_of_soil_moisture(evaluation: Scores) -> None:
    found = evaluation.dataset("triple_SYNTHETIC_swi")
    assert list(found["series"].values) == ["open_loop", "swi", "SYNTHETIC"]
    assert list(found["code"].values) == ["AAA", "BBB", "CCC"]
    assert (found.n == 180).all()  # frozen in the first twenty days, says a run
    cell = int(evaluation.dataset("station_SYNTHETIC_soil_moisture")["cell"][1])
    values = [
        _stored(evaluation, "runs/open_loop", "WG2")[20:, cell],
        _stored(evaluation, "observations/swi", "value")[20:, cell],
        _stored(evaluation, "insitu/SYNTHETIC", "soil_moisture")[1, 20:],
    ]
    C = np.cov(values)
    errors = [C[0, 0] - C[0, 1] * C[0, 2] / C[1, 2], C[1, 1] - C[0, 1] * C[1, 2] / C[0, 2]]
    assert np.allclose(found.error[:2, 1], np.sqrt(errors), rtol=1e-4)
    assert np.allclose(found.error[2], 0.01, atol=0.005)  # as the store was made


def test_predictor_losses_and_windows_of_the_operator(evaluation: Scores) -> None:
    scores = evaluation.dataset("operator")
    assert list(scores["predictor"].values) == ["WG2", "LAI"]
    assert (scores.predictor_loss.sel(predictor="WG2") > 0).all()
    assert (scores.n_training < scores.n_test).all()


def test_backscatter_of_a_network_with_several_outputs_is_that_of_its_part(tmp_path: Path) -> None:
    """Scores of runs and of the operator itself; a network of backscatter alone is taken before it."""
    store = make_store(tmp_path, replace(BARE, rows=1, columns=2))
    root = open_store(store, "a")
    cells = cell_ids_from_coordinates(*(read_region(root, "land", name) for name in ("latitude", "longitude")))
    joint = JointOperator(
        NeuralOptions(hidden=(3,)),
        predictor_names=("WG2", "LAI"),
        predictor_units=("m3 m-3", "m2 m-2"),
        output_names=("sigma40", "slope40"),
        output_units=("dB", registry.variable("slope40").unit),
    )
    networks = joint._untrained(cells)  # with weights of our own, which take no training
    random = np.random.default_rng(0)
    for array in (*networks.kernels, *networks.biases):
        array[...] = random.normal(size=array.shape)
    networks.outcome[...] = Outcome.TRAINED
    networks.input_mean[...], networks.input_std[...] = [0.25, 2.0], [0.05, 1.0]
    networks.target_mean[...], networks.target_std[...] = [-10.0, -0.1], [1.0, 0.01]
    joint._set(networks, {}, {})
    windows = {"test": (str(START), str(START + 100))}
    write_operator(root, "both", joint, windows=windows)
    found = evaluate(store, scores=tmp_path / "of_both")
    write_operator(root, "own", joint.output("sigma40"), windows=windows)
    alone = evaluate(store, scores=tmp_path / "of_one")
    assert "Of the operators own, both for sigma40, own is used." in alone.notes
    for group in ("operator", "sigma40_observations"):
        one, other = found.dataset(group), alone.dataset(group)
        assert set(one.data_vars) == set(other.data_vars)
        for name in one.data_vars:
            np.testing.assert_array_equal(one[name], other[name], err_msg=f"{group} {name}")
    assert np.isfinite(found.dataset("operator").rmsd_test).all()
    assert "open_loop" in found.dataset("sigma40_observations")["series"].values


def test_stations_in_their_cells_and_outside(evaluation: Scores) -> None:
    scores = evaluation.dataset("station_SYNTHETIC_soil_moisture")
    assert list(scores["code"].values) == ["AAA", "BBB", "CCC"]  # from west to east
    assert any("FAR" in note for note in evaluation.notes)
    table = station_table(evaluation)
    assert set(table["variable"]) == {"soil_moisture", "LE", "H", "GPP", "LAI"}
    assert (table["R low"].dropna() <= table["R"].loc[table["R low"].dropna().index]).all()


def test_monthly_correlations_of_stations_need_ten_days(evaluation: Scores) -> None:
    r = evaluation.dataset("station_SYNTHETIC_soil_moisture").r_by_month
    assert r.sizes["year"] == 1
    july = r.sel(year=2015, month=7)  # 200 days from 1 January: 19 days of July
    assert np.isfinite(july).all()
    assert np.isnan(r.sel(month=8)).all()


def test_tables_three_and_four(evaluation: Scores) -> None:
    comparison = evaluation.comparison("sigma40_observations")
    assert comparison is not None
    table = score_table(evaluation, comparison)
    assert list(table.columns[:4]) == ["station", "open_loop RMSD", "ekf RMSD", "ekf_swi_lai RMSD"]
    assert list(table["station"]) == ["AAA, TWR", "BBB", "CCC", "median of all cells"]
    change = table["ekf RMSD"] - table["open_loop RMSD"]
    assert np.allclose(table["ekf dRMSD"][:3], change[:3])
    assert (table["ekf dRMSD"] < 0).all()
    scores = evaluation.dataset("sigma40_observations")
    cell = int(evaluation.dataset("station_SYNTHETIC_soil_moisture")["cell"][1])
    assert table["ekf R"][1] == pytest.approx(float(scores.r.sel(series="ekf")[cell]))


def test_information_contributions_are_in_the_scores(evaluation: Scores) -> None:
    scores = evaluation.dataset("LAI_truth")
    rmsd = scores.rmsd
    expected = 1.0 - rmsd.sel(series="ekf") / rmsd.sel(series="open_loop")
    assert np.allclose(scores.nic_rmsd.sel(series="ekf"), expected, rtol=1e-5)
    assert (scores.nic_rmsd.sel(series="open_loop") == 0.0).all()
    assert "nic_rmsd" not in evaluation.dataset("swi_observations")  # other units
    assert (evaluation.dataset("swi_observations").nic_r.sel(series="ekf") > 0.0).all()
    assert (evaluation.dataset("station_SYNTHETIC_soil_moisture").nic_r.sel(series="ekf") > 0.0).any()
    facts = summary(evaluation)["ekf"]
    assert facts["lai_rmsd_nic_median"] == pytest.approx(float(scores.nic_rmsd.sel(series="ekf").median()))


def test_dominant_patches(evaluation: Scores) -> None:
    import xarray as xr

    comparison = evaluation.comparison("lai_observations")
    assert comparison is not None
    fractions = read_region(open_store(evaluation.location), "land", "patch_fraction")
    table = patch_table(evaluation, comparison, xr.DataArray(fractions, dims=("cell", "patch")))
    assert table["cells"].sum() == evaluation.plan.cells
    assert set(table["dominant patch"]) <= {"conifers", "C3 crops", "C4 crops", "grassland"}


def test_only_the_common_period_is_compared_and_said(evaluation: Scores) -> None:
    assert str(evaluation.plan.days[0]) == "2015-01-01"
    assert any("different periods" in note and "2015-01-01" in note for note in evaluation.notes)


def test_what_an_experiment_is_judged_by(evaluation: Scores) -> None:
    numbers = summary(evaluation)
    assert is_synthetic(evaluation.root)
    for experiment in ("ekf", "ekf_swi_lai"):
        facts = numbers[experiment]
        assert facts["sigma40_rmsd_improved_fraction"] == 1.0
        assert facts["lai_rmsd_improved_fraction"] == 1.0
        assert facts["ssm_r_improved_fraction"] == 1.0
        assert facts["lai_rmsd_reference"] == "truth"
        assert facts["sigma40_rmsd_reference"] == "observations/sigma40"
        assert facts["lai_rmsd_analysis_median"] < facts["lai_rmsd_median"]
    assert "lai_rmsd_improved_fraction" not in numbers["open_loop"]


@pytest.mark.parametrize(("error", "improved", "worsened"), [(1.0, 0.0, 0.0), (2.0, 0.0, 1.0)])
def test_equal_and_worse_runs(tmp_path: Path, error: float, improved: float, worsened: float) -> None:
    store = make_store(tmp_path, replace(BARE, error=error, truth=True, operator=True))
    facts = summary(evaluate(store))["ekf"]
    for key in ("sigma40_rmsd", "lai_rmsd"):
        assert facts[f"{key}_improved_fraction"] == improved, key
        assert facts[f"{key}_worsened_fraction"] == worsened, key
    assert facts["ssm_r_improved_fraction"] == improved


def test_same_scores_for_any_blocks_and_on_dask(tmp_path: Path) -> None:
    hashes = []
    for width in (2, 8):
        folder = tmp_path / str(width)
        folder.mkdir()
        store = make_store(folder, replace(BARE, cells_per_block=width))
        evaluate(store)
        hashes.append(array_hashes(store, "scores"))
    assert hashes[0] == hashes[1]
    with connected(ClusterConfig(workers=2)) as client:
        evaluate(tmp_path / "2" / "synthetic.zarr", client=client)
    assert array_hashes(tmp_path / "2" / "synthetic.zarr", "scores") == hashes[0]


@pytest.mark.long
def test_nothing_of_a_block_stays_in_memory(tmp_path: Path) -> None:
    """What is held after three blocks is what is held after eight, to the few kB of growing tables of names."""
    narrow = replace(BARE, days=60, open_loop_days_before=0, cells_per_block=1)
    store, held = make_store(tmp_path, narrow), {}

    def after(done: int, blocks: int) -> None:
        gc.collect()
        held[done] = tracemalloc.get_traced_memory()[0]
        assert blocks == 8

    tracemalloc.start()
    try:
        evaluate(store, progress=after)
    finally:
        tracemalloc.stop()
    one_series = 8 * narrow.days * 3 * 5  # bytes of one comparison of a block: what a leak would add each time
    assert held[8] - held[3] < 5 * one_series


def test_an_incomplete_run_is_reported_as_far_as_it_goes(tmp_path: Path) -> None:
    evaluation = evaluate(make_store(tmp_path, replace(BARE, incomplete=True)))
    assert any("ekf is incomplete: 50%" in note for note in evaluation.notes)
    assert (evaluation.dataset("swi_observations").n == 100).all()
    assert evaluation.dataset("quality_ekf").sigma40.values.sum() <= 100 * evaluation.plan.cells


def test_cells_without_values_and_without_variance(tmp_path: Path) -> None:
    store = make_store(tmp_path, BARE)
    root = open_store(store, "a")
    for name in ("LAI", "LAI_forecast", "WG2", "WG2_forecast"):
        array = root[f"runs/ekf/{name}"]
        values = array[...]
        values[:, 1] = np.nan  # set aside in this run only
        values[:, 2] = 0.3  # no variance
        array[...] = values
    observed = root["observations/lai/value"]
    values = observed[...]
    values[:, 3] = np.nan
    observed[...] = values
    evaluation = evaluate(store)
    lai, swi = evaluation.dataset("lai_observations"), evaluation.dataset("swi_observations")
    assert np.isnan(lai.rmsd.sel(series="ekf")[1])
    assert np.isfinite(lai.rmsd.sel(series="open_loop")[1])  # the others still have their scores
    assert np.isnan(swi.r.sel(series="ekf")[2])
    assert np.isfinite(swi.r.sel(series="open_loop")[2])
    assert np.isnan(lai.rmsd[:, 3]).all()
    assert (lai.n[:, 3] == 0).all()
    facts = summary(evaluation)["ekf"]
    assert facts["lai_rmsd_cells"] == evaluation.plan.cells - 2


def test_no_run_and_unknown_run(tmp_path: Path) -> None:
    open_store(tmp_path / "empty.zarr", "a")
    with pytest.raises(EvaluationError, match="ldas run"):
        evaluate(tmp_path / "empty.zarr")
    store = make_store(tmp_path, BARE)
    with pytest.raises(EvaluationError, match="no run nothing"):
        evaluate(store, experiments=["nothing"])


def test_a_run_that_shares_no_day_is_left_out_and_said(tmp_path: Path) -> None:
    store = make_store(tmp_path, BARE)
    root = open_store(store, "a")
    time = root["runs/ekf/time"]
    time[: BARE.days] = time[: BARE.days] + 86400 * 4000
    plan = make_plan(open_store(store))
    assert [experiment.name for experiment in plan.experiments] == ["open_loop"]
    assert any("shares no day" in note for note in plan.notes)


def test_a_station_in_other_units_is_not_compared(tmp_path: Path) -> None:
    store = make_store(tmp_path, replace(BARE, stations=True))
    open_store(store, "a")["insitu/TOWER/GPP"].attrs["units"] = "g C m-2 d-1"
    evaluation = evaluate(store)
    assert any("g C m-2 d-1" in note for note in evaluation.notes)
    assert not evaluation.has("station_TOWER_GPP")
    assert evaluation.has("station_TOWER_LE")


def test_scores_go_elsewhere_when_asked(tmp_path: Path) -> None:
    store = make_store(tmp_path, BARE)
    evaluation = evaluate(store, scores=tmp_path / "scores.zarr")
    assert evaluation.has("lai_observations")
    assert "scores" not in open_store(store)


def test_the_raw_scores_are_in_the_tree(evaluation: Scores) -> None:
    tree = open_run(evaluation.location)
    assert float(tree["scores/lai_observations"]["rmsd"].max()) > 0
    assert tree["scores/lai_observations"]["rmsd"].attrs["units"] == "m2 m-2"


def test_the_tree_of_a_run_has_cf_attributes(evaluation: Scores) -> None:
    tree = open_run(evaluation.location)
    latent_heat = tree["runs/open_loop"]["LE"].attrs
    assert latent_heat["standard_name"] == "surface_upward_latent_heat_flux"
    assert latent_heat["units"] == "W m-2"
    assert latent_heat["cell_methods"] == "time: mean"
    assert tree["runs/open_loop"]["LAI"].attrs["long_name"] == "leaf area index"
    assert tree["runs/open_loop"]["time"].dtype.kind == "M"
    assert tree["runs/open_loop"]["LE"].chunks is not None  # nothing is read before it is asked for


def test_fluxes_of_an_assimilation_run_belong_to_the_day_before(evaluation: Scores) -> None:
    """Means up to 09 UTC: most of them lies in the day before the label; in the store they are one day late."""
    cell = int(evaluation.dataset("station_TOWER_H")["cell"][0])
    stored = _stored(evaluation, "runs/ekf", "H")[:, cell]
    measured = _stored(evaluation, "insitu/TOWER", "H")[:, 0]
    scores = evaluation.dataset("station_TOWER_H")
    expected = np.sqrt(np.mean((stored[1:] - measured[:-1]) ** 2))
    assert float(scores.rmsd.sel(series="ekf")[0]) == pytest.approx(expected, rel=1e-4)
    assert (scores.n == len(stored) - 1).all()


def test_monthly_means_for_the_yardstick(evaluation: Scores) -> None:
    ours, observed = other_models.monthly_means(evaluation, "TWR")
    assert set(ours) == {"open_loop", "ekf", "ekf_swi_lai"}
    measured = _stored(evaluation, "insitu/TOWER", "LE")[:, 0]
    assert observed["LE"][0] == pytest.approx(measured[:31].mean(), rel=1e-6)
    assert np.isnan(observed["LE"][11])  # 200 days: no December
    with pytest.raises(EvaluationError, match="no station 'XXX'"):
        other_models.monthly_means(evaluation, "XXX")
