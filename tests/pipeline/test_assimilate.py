"""The assimilation stage with the real land model and filters on a small made-up store."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from distributed import Client
from pydantic import ValidationError

import landmodel
from assim import Quality
from assim.diagnostics import desroziers, estimated_error
from assim.rescaling import cdf_matched, linearly_rescaled, seasonal_moments, seasonal_quantiles
from landmodel import OutputRequest, State
from operators.cells import cell_ids_from_coordinates
from operators.direct import DirectOperator
from pipeline import ledger
from pipeline.assimilation_config import AssimilatedConfig
from pipeline.cluster import connected
from pipeline.config import ClusterConfig, ExperimentConfig
from pipeline.errors import ConfigurationError
from pipeline.execution import Outcome, run_stage
from pipeline.groups import write_group
from pipeline.ledger import Block, Period
from pipeline.operator_store import write_operator
from pipeline.stages import assimilate
from pipeline.stages.assimilate import Assimilate
from pipeline.stages.base import prepare
from pipeline.stages.build import build_stages
from pipeline.stages.land import LandStage
from pipeline.stages.observations import codes_of_windows, days_of, interpolated_in_time, values_of_windows, window_ends
from pipeline.store import array_hashes, open_store, read_region
from tests.pipeline.synthetic_store import (
    COLD_DAYS,
    FIRST_DAY,
    LONGITUDE,
    experiment,
    latitudes,
    make_store,
    write_observations,
)
from tests.pipeline.toy import Silence

CELLS, DAYS = 4, 24
DAY = np.timedelta64(1, "D")
STATES = ("WG1", "WG2", "WG3", "WG4", "WG5", "WG6", "WG7", "WG8", "TG1", "TG2", "LAI", "SWE")
CONTROLS = ("LAI", "WG2", "WG3", "WG4", "WG5", "WG6", "WG7", "WG8")
RESTARTS = {"restart_on": ["2007-04-15", "2007-04-24"]}
HUGE = {"kind": "absolute", "size": 1e9}
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A cluster of two threads."""
    with connected(ClusterConfig(workers=2)) as client:
        yield client


def small(path: Path, *runs: dict[str, Any], **sections: Any) -> ExperimentConfig:
    """The experiment of these tests with some assimilations."""
    return experiment(path, **{"open_loop": RESTARTS, "assimilation": list(runs), **sections})


def run(config: ExperimentConfig, client: Client) -> Outcome:
    """Runs what is not done; the outcome of the last stage, before which all went well."""
    outcome = Outcome()
    for stage in build_stages(config):
        assert not outcome.failures, outcome.failures
        prepare(stage)
        outcome = run_stage(stage, client, window=4, retries=0, listener=Silence())
    return outcome


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with land, forcing and observations, to be copied."""
    path = tmp_path_factory.mktemp("inputs") / "store"
    make_store(path, cells=CELLS, days=DAYS)
    return path


@pytest.fixture(scope="module")
def base(inputs: Path, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the open loop at 09 UTC, to be copied."""
    path = tmp_path_factory.mktemp("base") / "store"
    shutil.copytree(inputs, path)
    assert run(small(path), client).complete
    return path


@pytest.fixture(scope="module")
def midnight(inputs: Path, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the open loop at 00 UTC, to be copied."""
    path = tmp_path_factory.mktemp("midnight") / "store"
    shutil.copytree(inputs, path)
    assert run(small(path, model={"analysis_hour_utc": 0}), client).complete
    return path


@pytest.fixture
def store(base: Path, tmp_path: Path) -> Path:
    """A store of this test with the open loop at 09 UTC."""
    shutil.copytree(base, tmp_path / "store")
    return tmp_path / "store"


def lai_run(name: str = "lai", **settings: Any) -> dict[str, Any]:
    """An assimilation of LAI alone."""
    entry = {key: settings.pop(key) for key in tuple(settings) if key in ("error", "operator", "assimilate")}
    return {"name": name, "observations": [{"name": "lai", **entry}], **settings}


def swi_run(name: str = "swi", **settings: Any) -> dict[str, Any]:
    """An assimilation of soil moisture alone, as it is unless it says how to rescale it."""
    return {"name": name, "observations": [{"name": "swi", **settings}]}


def read(path: Path, name: str, variable: str) -> np.ndarray:
    """A variable of a run."""
    return read_region(open_store(str(path)), f"runs/{name}", variable)


def day_indices(path: Path, name: str) -> np.ndarray:
    """Where the days of a run lie on the axis of the open loop."""
    return (read(path, name, "time") - FIRST_DAY) // DAY


def stage_of(config: ExperimentConfig) -> Assimilate:
    """The last stage."""
    stage = list(build_stages(config))[-1]
    assert isinstance(stage, Assimilate)
    return stage


def daily(hour: float, cells: int = CELLS) -> np.ndarray:
    """An instant of each day."""
    return FIRST_DAY + np.arange(DAYS) * DAY + np.timedelta64(int(3600 * hour), "s")


def assert_same_states(path: Path, name: str, restart: str) -> None:
    """The stored states and the last restart of a run are, bit for bit, those of the open loop."""
    days = day_indices(path, name)
    for variable in STATES:
        expected = read(path, "open_loop", variable)[days]
        np.testing.assert_array_equal(read(path, name, variable), expected, err_msg=variable)
        if variable in CONTROLS:
            np.testing.assert_array_equal(read(path, name, f"{variable}_forecast"), expected, err_msg=variable)
            assert (read(path, name, f"increment_{variable}") == 0.0).all(), variable
    found, expected = (array_hashes(str(path), f"restarts/{run}/{restart}") for run in (name, "open_loop"))
    strip = {key.rsplit("/")[-1]: value for key, value in expected.items()}
    assert len(strip) > 15
    assert {key.rsplit("/")[-1]: value for key, value in found.items()} == strip


# --- a filter that has nothing to say leaves the open loop as it is ----------------------------------------------


@pytest.mark.parametrize(
    ("hour", "start", "restart"),
    [
        (9, None, "20070424T09"),
        (9, "2007-04-15", "20070424T09"),  # a restart of the open loop on a chosen day
        (9, "2007-04-13", "20070424T09"),  # between two restarts
        (0, None, "20070424T00"),
        (0, "2007-04-11", "20070424T00"),  # the end of a period of the open loop
    ],
)
def test_with_a_very_large_error_the_run_is_the_open_loop(
    request: pytest.FixtureRequest, client: Client, tmp_path: Path, hour: int, start: str | None, restart: str
) -> None:
    path = tmp_path / "store"
    shutil.copytree(request.getfixturevalue("base" if hour else "midnight"), path)
    observations = [{"name": name, "error": HUGE} for name in ("swi", "lai")]
    name = "huge"
    config = small(
        path,
        {"name": name, "start": start, "observations": observations},
        model={"analysis_hour_utc": hour},
    )
    assert run(config, client).complete
    days = day_indices(path, name)
    first = 0 if start is None else int(start[-2:]) - 1
    np.testing.assert_array_equal(days, np.arange(first + (hour > 0), DAYS - (hour == 0)))
    quality, innovation = read(path, name, "quality_swi"), read(path, name, "innovation_swi")
    assert (quality == Quality.USED).sum() > 0.5 * quality.size
    assert np.abs(innovation[quality == Quality.USED]).max() > 0.1
    assert_same_states(path, name, restart)


def test_missing_observations_change_nothing_and_are_coded(store: Path, client: Client) -> None:
    write_observations(store, "lai", daily(6.0), {"value": np.full((DAYS, CELLS), np.nan)})
    assert run(small(store, lai_run()), client).complete
    assert (read(store, "lai", "quality_lai") == Quality.MISSING).all()
    for variable in ("innovation_lai", "residual_lai"):
        assert np.isnan(read(store, "lai", variable)).all()
    assert (read(store, "lai", "dfs_lai") == 0.0).all()
    assert_same_states(store, "lai", "20070424T09")


def forecast_of_the_open_loop(path: Path) -> Arrays:
    """LAI and WG2 of the open loop at 09 UTC in double precision, as the observations lai and swi."""
    stage = stage_of(small(path, lai_run()))
    root, block = open_store(str(path)), Block(0, 0, CELLS)
    parameters, stop = stage.parameters(root, block), FIRST_DAY + DAYS * DAY
    forcing = stage.forcing(root, block, FIRST_DAY, stop)
    state = landmodel.cold_start(parameters, air_temperature=285.0)
    request = OutputRequest(instant=("LAI", "WG"), instant_hour=9)
    _, outputs = stage.run_model(parameters, state, forcing, FIRST_DAY, stop, request)
    return {
        "lai": landmodel.aggregate(outputs["LAI"], parameters, CELLS),
        "swi": landmodel.aggregate(outputs["WG"][:, :, 1], parameters, CELLS),
    }


def test_observations_like_the_forecast_give_no_increment(store: Path, client: Client) -> None:
    for name, values in forecast_of_the_open_loop(store).items():
        write_observations(store, name, daily(9.0), {"value": values})
    both = {"name": "both", "observations": [{"name": "lai"}, {"name": "swi"}]}
    assert run(small(store, both), client).complete
    frozen = np.isin(day_indices(store, "both"), np.arange(*COLD_DAYS))
    for name in ("lai", "swi"):
        quality = read(store, "both", f"quality_{name}")
        assert (quality[~frozen] == Quality.USED).mean() > 0.9
        assert np.abs(read(store, "both", f"innovation_{name}")).max() < 1e-12
    assert_same_states(store, "both", "20070424T09")


def test_observations_above_the_forecast_raise_it(store: Path, client: Client) -> None:
    truth = forecast_of_the_open_loop(store)
    write_observations(store, "lai", daily(9.0), {"value": truth["lai"] + 0.5})
    assert run(small(store, lai_run()), client).complete
    quality = read(store, "lai", "quality_lai")
    used = quality == Quality.USED
    increment, innovation, residual = (
        read(store, "lai", f"{n}") for n in ("increment_LAI", "innovation_lai", "residual_lai")
    )
    analysis, forecast = read(store, "lai", "LAI"), read(store, "lai", "LAI_forecast")
    assert used.sum() > 60
    np.testing.assert_allclose(innovation[0], 0.5, rtol=1e-6)
    assert (increment[0] > 0.05).all()
    np.testing.assert_allclose(analysis - forecast, increment, atol=1e-6)
    np.testing.assert_allclose(innovation - residual, increment, atol=1e-6)
    assert (increment[~used] == 0.0).all()
    assert (np.abs(residual[used]) < np.abs(innovation[used]) + 1e-6).all()
    dfs = read(store, "lai", "dfs_lai")
    assert ((dfs[used] > 0.0) & (dfs[used] < 1.0)).all()
    assert (read(store, "lai", "LAI")[-1] > read(store, "open_loop", "LAI")[-1]).all()


# --- what becomes of each observation -----------------------------------------------------------------------------


def test_every_observation_has_the_code_of_its_fate(store: Path, client: Client) -> None:
    value = np.full((DAYS, CELLS), 0.25)
    quality = np.zeros(value.shape, dtype=np.int8)
    uncertainty = np.full(value.shape, 0.05)
    value[3, 0] = np.nan
    quality[3, 1] = Quality.MASKED_PRODUCT_FLAG  # its value is there
    quality[3, 2], value[3, 2] = Quality.MASKED_TOPOGRAPHY, np.nan
    value[3, 3] = 1.7
    uncertainty[4, 0] = 0.0
    uncertainty[4, 1] = np.nan
    value[5, 0] = 0.9
    uncertainty[6, 0], quality[6, 0] = -9999.0, Quality.MASKED_PRODUCT_FLAG  # no use is made of it
    write_observations(store, "swi", daily(6.0), {"value": value, "quality": quality, "uncertainty": uncertainty})
    write_observations(store, "ssm", daily(6.0), {"value": value, "quality": quality})
    settings = {"error": {"kind": "given"}, "innovation_limit": 0.5}
    runs = [
        {"name": "strict", "observations": [{"name": "swi", **settings}, {"name": "ssm", "assimilate": False}]},
        {"name": "lenient", "observations": [{"name": "swi", **settings, "reject_frozen": False}]},
    ]
    assert run(small(store, *runs), client).complete
    code = read(store, "strict", "quality_swi")  # its first row is 2 April
    assert list(code[2]) == [
        Quality.MISSING,
        Quality.MASKED_PRODUCT_FLAG,
        Quality.MASKED_TOPOGRAPHY,
        Quality.OUTSIDE_VALID_RANGE,
    ]
    assert list(code[3]) == [Quality.ERROR_NOT_POSITIVE, Quality.ERROR_NOT_POSITIVE, Quality.USED, Quality.USED]
    assert list(code[4]) == [Quality.REJECTED_INNOVATION, Quality.USED, Quality.USED, Quality.USED]
    assert list(code[5]) == [Quality.MASKED_PRODUCT_FLAG, Quality.USED, Quality.USED, Quality.USED]
    cold = slice(COLD_DAYS[0], COLD_DAYS[1] - 1)
    assert (code[cold] == Quality.MASKED_FROZEN).all()
    snow = read(store, "lenient", "SWE")[cold] > 0.0
    assert snow.mean() > 0.7
    assert ((read(store, "lenient", "quality_swi")[cold] == Quality.MASKED_SNOW) == snow).all()
    compared = read(store, "strict", "quality_ssm")
    assert (compared[code == Quality.USED] == Quality.NOT_ASSIMILATED).all()
    assert np.isfinite(read(store, "strict", "innovation_ssm")[compared == Quality.NOT_ASSIMILATED]).all()
    increment = np.abs(read(store, "strict", "increment_WG2"))
    assert (increment[code != Quality.USED] == 0.0).all()
    assert (increment[code == Quality.USED] > 0.0).all()
    attributes = open_store(str(store))["runs/strict/quality_swi"].attrs
    assert attributes["flag_meanings"].split()[Quality.MASKED_FROZEN] == "masked_frozen"


def test_a_negative_uncertainty_stops_its_block_and_no_other(store: Path, client: Client) -> None:
    uncertainty = np.full((DAYS, CELLS), 0.05)
    uncertainty[7, 3] = -9999.0
    value = np.full((DAYS, CELLS), 0.25)
    write_observations(store, "swi", daily(6.0), {"value": value, "uncertainty": uncertainty})
    outcome = run(small(store, swi_run()), client)
    assert list(outcome.failures) == [1]
    assert "swi: negative uncertainty -9999" in outcome.failures[1]
    assert np.isfinite(read(store, "swi", "LAI")[:, :2]).all()


def test_observations_belong_to_the_window_they_lie_in(store: Path, client: Client) -> None:
    """The analysis hour ends a window; of several overpasses the good ones are averaged."""
    times = FIRST_DAY + np.array([9 * 3600, 9 * 3600 + 1, 12 * 3600, 33 * 3600, 33 * 3600 + 1]).astype("timedelta64[s]")
    value = np.array([0.9, 0.1, 0.3, 0.9, 0.25])[:, None] * np.ones((1, CELLS))
    quality = np.zeros(value.shape, dtype=np.int8)
    quality[3] = Quality.MASKED_PRODUCT_FLAG
    write_observations(store, "swi", times, {"value": value, "quality": quality})
    assert run(small(store, swi_run()), client).complete
    code, innovation = read(store, "swi", "quality_swi"), read(store, "swi", "innovation_swi")
    assert (code[:2] == Quality.USED).all()
    assert (code[2:] == Quality.MISSING).all()
    observed = innovation + read(store, "swi", "WG2_forecast")
    np.testing.assert_allclose(observed[0], 0.2, rtol=1e-5)
    np.testing.assert_allclose(observed[1], 0.25, rtol=1e-5)


@pytest.mark.parametrize("hour", [0, 9])
def test_windows_and_the_days_they_are_stored_under(hour: int) -> None:
    first, last = np.datetime64("2007-04-01").item(), np.datetime64("2007-04-04").item()
    ends = window_ends(first, last, hour)
    assert [str(end) for end in ends] == [f"2007-04-0{day}T{hour:02d}:00:00" for day in (2, 3, 4)]
    labels = days_of(ends)
    assert str(labels[0])[:10] == ("2007-04-02" if hour else "2007-04-01")
    times = ends[0] + np.array([-86400, -86399, 0, 1, 86400, 172800]).astype("timedelta64[s]")
    values = np.arange(6.0)[:, None]
    np.testing.assert_array_equal(values_of_windows(times, values, ends, hour)[:, 0], [1.5, 3.5, 5.0])
    codes = np.array([9, 9, 1, 1, 9, 0], dtype=np.int8)[:, None]
    np.testing.assert_array_equal(codes_of_windows(times, codes, ends, hour)[:, 0], [9, 9, 0])
    assert (codes_of_windows(times[:0], codes[:0], ends, hour) == Quality.MISSING).all()


def test_interpolation_in_time_stays_between_observations() -> None:
    times = daily(0.0)[[0, 10, 20]]
    values = np.array([[1.0, np.nan], [2.0, np.nan], [4.0, np.nan]])
    at = daily(0.0)[[0, 5, 15, 20, 21]]
    found = interpolated_in_time(times, values, at)
    np.testing.assert_allclose(found[:, 0], [1.0, 1.5, 3.0, 4.0, np.nan])
    assert np.isnan(found[:, 1]).all()


@pytest.mark.parametrize(
    ("method", "days"), [("linear", None), ("cdf", None), ("linear", ("2007-04-05", "2007-04-16"))]
)
def test_rescaled_observations_are_compared_with_the_model(
    store: Path, client: Client, method: str, days: tuple[str, str] | None
) -> None:
    """Soil water index moved to the open loop's climatology, or that of a part of its days, together with LAI."""
    hours = np.arange(1, 24, 4)
    times = (daily(0.0)[:, None] + hours * np.timedelta64(3600, "s")).ravel()
    random = np.random.default_rng(5)
    value = np.clip(0.5 + 0.2 * random.standard_normal((len(times), CELLS)), 0.0, 1.0)
    write_observations(store, "swi", times, {"value": value})
    period = None if days is None else {"start": days[0], "end": days[1]}
    swi = {"name": "swi", "rescale": method, "rescale_period": period}
    both = {"name": "both", "observations": [swi, {"name": "lai"}]}
    assert run(small(store, both), client).complete

    label = (times - np.timedelta64(9 * 3600 + 1, "s")).astype("datetime64[D]") + 1  # 09 UTC ends a window
    place = (label - FIRST_DAY.astype("datetime64[D]")).astype(int)
    model = np.full(value.shape, np.nan)
    inside = place < DAYS
    if days is not None:
        inside &= (label >= np.datetime64(days[0])) & (label <= np.datetime64(days[1]))
    model[inside] = read(store, "open_loop", "WG2")[place[inside]]
    months = np.full(len(times), 4)
    if method == "linear":
        moved = linearly_rescaled(value, months, seasonal_moments(value, model, months))
    else:
        moved = cdf_matched(value, months, seasonal_quantiles(value, model, months))
    expected = np.stack([moved[place == day].mean(axis=0) for day in range(1, DAYS)])
    used = read(store, "both", "quality_swi") == Quality.USED
    observed = read(store, "both", "innovation_swi") + read(store, "both", "WG2_forecast")
    assert used.sum() > 60
    np.testing.assert_allclose(observed[used], expected[used], rtol=2e-5)
    paired = np.isfinite(model)
    assert abs(moved[paired].mean() - model[paired].mean()) < 0.01
    assert (read(store, "both", "quality_lai") == Quality.USED).sum() > 5


# --- operators ----------------------------------------------------------------------------------------------------


def stored_operator(path: Path, name: str, latitude: np.ndarray) -> None:
    """A stored operator of cells at these latitudes: the observation is LAI itself."""
    cells = cell_ids_from_coordinates(latitude, np.full(latitude.shape, LONGITUDE))
    write_operator(open_store(str(path), "a"), name, DirectOperator.leaf_area_index(cells))


def test_a_stored_operator_is_found_for_each_cell(store: Path, client: Client) -> None:
    """More cells than the run has, in another order."""
    stored_operator(store, "all", latitudes(CELLS + 3)[::-1])
    assert run(small(store, lai_run(), lai_run("stored", operator="all")), client).complete
    for name in ("LAI", "innovation_lai", "increment_LAI", "increment_WG5"):
        np.testing.assert_array_equal(read(store, "stored", name), read(store, "lai", name))
    found = read(store, "stored", "lai") - read(store, "stored", "LAI")
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


def test_an_operator_of_other_cells_is_refused(store: Path, client: Client) -> None:
    stored_operator(store, "few", latitudes(CELLS)[:3])
    outcome = run(small(store, lai_run(operator="few")), client)
    assert list(outcome.failures) == [1]  # the block of cells 2 and 3
    assert "operator 'few' was made for other cells: 1 of the 2 asked for are missing" in outcome.failures[1]


def test_an_operator_that_is_not_there(store: Path, client: Client) -> None:
    outcome = run(small(store, lai_run(operator="none")), client)
    assert sorted(outcome.failures) == [0, 1]
    assert "no group 'operators/none'" in outcome.failures[0]


def test_missing_observation_group(store: Path, client: Client) -> None:
    outcome = run(small(store, {"name": "ssm", "observations": [{"name": "ssm"}]}), client)
    assert "no observations 'observations/ssm' in the store: ingest them" in outcome.failures[0]


# --- observation errors from an earlier run -----------------------------------------------------------------------


def test_stored_diagnostics_and_an_error_estimated_from_them(store: Path, client: Client) -> None:
    estimated = {"kind": "estimated", "size": 0.05, "from_run": "swi"}
    config = small(store, swi_run(), swi_run("second", error=estimated))
    assert run(config, client).complete
    used = read(store, "swi", "quality_swi") == Quality.USED
    innovation, residual = read(store, "swi", "innovation_swi"), read(store, "swi", "linear_residual_swi")
    freedom, chi_square = read(store, "swi", "dfs_swi"), read(store, "swi", "chi_square")
    np.testing.assert_array_equal(np.isfinite(residual), used)
    np.testing.assert_array_equal(np.isfinite(chi_square), used)
    assert ((freedom > 0.0) == used).all()
    # One observation: H K = 1 - R / S and d^2 / S, here with R = 0.05^2.
    np.testing.assert_allclose(chi_square[used], (innovation**2 * (1.0 - freedom) / 0.05**2)[used], rtol=1e-4)
    # Too few days for an estimate: the size itself, and so the same run.
    for name in ("LAI", "WG2", "increment_WG2"):
        np.testing.assert_array_equal(read(store, "second", name), read(store, "swi", name))
    assert "swi" in stage_of(config).identity()["errors_from"]

    days, random = 300, np.random.default_rng(1)
    d = random.normal(0.0, 0.1, (days, CELLS)) * [1.0, 0.7, 1.5, 20.0]
    made = {"innovation_swi": (("time", "cell"), d), "linear_residual_swi": (("time", "cell"), 0.5 * d)}
    root = open_store(str(store), "a")
    write_group(root, "runs/made", xr.Dataset(made))
    entry = AssimilatedConfig.model_validate({"name": "swi", "error": {**estimated, "from_run": "made"}})
    error = assimilate._error_of(root, entry, Block(1, 2, 4))
    expected = estimated_error(desroziers(d[:, 2:], 0.5 * d[:, 2:]), 0.05)
    assert (error.kind, expected[1]) == ("absolute", 0.1)
    np.testing.assert_array_equal(error.size, expected)


# --- dates --------------------------------------------------------------------------------------------------------


def test_dates_that_cannot_be_met(store: Path, client: Client) -> None:
    with pytest.raises(ValidationError, match="2007-05-24 is outside the period"):
        small(store, lai_run(end="2007-05-24"))
    with pytest.raises(ValidationError, match="must be after start"):
        small(store, lai_run(start="2007-04-10", end="2007-04-10"))
    with pytest.raises(ConfigurationError, match="no 24 h window between 2007-04-24 and 2007-04-24"):
        prepare(stage_of(small(store, lai_run(start="2007-04-24"))))
    root = open_store(str(store), "a")
    group = root["forcing"]
    group.attrs["committed"] = {**group.attrs["committed"], "time": 24 * 15 + 1}
    outcome = run(small(store, lai_run()), client)
    assert "the forcing of the store runs from 2007-04-01T00:00:00 to 2007-04-16T00:00:00" in outcome.failures[0]
    assert "2007-04-11T09:00:00 to 2007-04-21T09:00:00 is needed" in outcome.failures[0]
    status = ledger.statuses(root, "lai")
    assert (status[0] == ledger.DONE).all()
    assert np.isfinite(read(store, "lai", "LAI")[:10]).all()


def test_a_missing_restart_of_the_open_loop(store: Path, client: Client) -> None:
    del open_store(str(store), "a")["restarts/open_loop/20070411T00"]
    outcome = run(small(store, lai_run(start="2007-04-13")), client)
    assert "no restart 'restarts/open_loop/20070411T00' in the store" in outcome.failures[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "lai", "rescale_months": 2}, "odd number"),
        ({"name": "sigma40"}, "name the stored operator"),
        ({"name": "sigma40", "operator": "neural", "rescale": "linear"}, "only observed model variables are rescaled"),
        ({"name": "height", "operator": "neural"}, "no default error"),
        ({"name": "lai", "error": {"kind": "absolute", "size": -1}}, "greater than 0"),
        ({"name": "lai", "eror": {}}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        small(tmp_path, {"name": "wrong", "observations": [wrong]})


def test_where_an_estimated_error_may_come_from(tmp_path: Path) -> None:
    estimated = {"kind": "estimated", "size": 0.3, "from_run": "swi"}
    for wrong in ({"kind": "estimated"}, {"kind": "absolute", "from_run": "swi"}):
        with pytest.raises(ValidationError, match="from_run belongs to kind: estimated"):
            small(tmp_path, swi_run(), swi_run("second", error=wrong))
    for earlier in ([], [lai_run("swi")]):
        with pytest.raises(ValidationError, match="must be an assimilation of swi before it in the list"):
            small(tmp_path, *earlier, swi_run("second", error=estimated), swi_run("third"))


def test_more_settings_that_cannot_be_meant(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="distinct"):
        small(tmp_path, {"name": "wrong", "observations": [{"name": "lai"}, {"name": "lai"}]})
    with pytest.raises(ValidationError, match="Unexpected keyword argument"):
        small(tmp_path, {**lai_run(), "sekf": {"control": ["LAI"]}})
    with pytest.raises(ValidationError, match="control variables"):
        small(tmp_path, {**lai_run(), "sekf": {"controls": ["TG1"]}})


# --- cells that are set aside -------------------------------------------------------------------------------------


def assert_set_aside(path: Path, good: Path, cell: int, first: int, name: str = "lai") -> None:
    """A cell has nothing from a row on; everything else is as in a good run."""
    for variable in ("LAI", "LAI_forecast", "LE", "WG2", "increment_LAI", "residual_lai", "innovation_lai", "dfs_lai"):
        found, expected = read(path, name, variable), read(good, name, variable)
        assert np.isnan(found[first:, cell]).all(), variable
        expected[first:, cell] = np.nan
        np.testing.assert_array_equal(found, expected, err_msg=variable)
    assert (read(path, name, "quality_lai")[first:, cell] == Quality.STATE_NOT_FINITE).all()


@pytest.fixture(scope="module")
def good(base: Path, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two runs that nothing happened to."""
    path = tmp_path_factory.mktemp("good") / "store"
    shutil.copytree(base, path)
    assert run(small(path, lai_run(), lai_run("late", start="2007-04-15")), client).complete
    return path


def test_a_cell_that_starts_from_a_broken_state_is_set_aside_alone(store: Path, good: Path, client: Client) -> None:
    temperature = open_store(str(store), "a")["restarts/open_loop/20070415T09/soil_temperature"]
    assert isinstance(temperature, zarr.Array)
    temperature[1, 6, 3] = np.nan
    outcome = run(small(store, lai_run("late", start="2007-04-15")), client)
    assert not outcome.complete
    assert (outcome.cells_set_aside, outcome.failures) == (1, {})
    assert_set_aside(store, good, cell=1, first=0, name="late")
    root = open_store(str(store))
    assert (ledger.statuses(root, "late")[:, 1] == ledger.SET_ASIDE).all()
    assert (np.delete(ledger.statuses(root, "late"), 1, axis=1) == ledger.DONE).all()


def blow_up(monkeypatch: pytest.MonkeyPatch, clay: float, when: str) -> None:
    """Makes the model lose the state of the cell with this clay content in the window that begins then."""
    whole = landmodel.Isba.run

    def failing(self: landmodel.Isba, state: State, forcing: Any, start: Any, **settings: Any) -> Any:
        after, outputs = whole(self, state, forcing, start, **settings)
        if str(start)[:13] == when:
            after.soil_water[np.isclose(self.parameters.clay, clay), ..., 3] = np.nan
        return after, outputs

    monkeypatch.setattr(landmodel.Isba, "run", failing)


@pytest.mark.parametrize("method", ["sekf", "ensrf"])
def test_a_cell_whose_state_is_lost_on_the_way_keeps_its_last_good_one(
    store: Path, good: Path, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str
) -> None:
    """In the third window of the second period."""
    settings = {"filter": method, "ensrf": {"members": 3}}
    members = [""] if method == "sekf" else [f"-member-{number:02d}" for number in range(3)]
    if method == "ensrf":
        good = tmp_path / "good"
        shutil.copytree(store, good)
        assert run(small(good, lai_run(**settings)), client).complete
    blow_up(monkeypatch, clay=0.24, when="2007-04-13T09")  # cell 2
    outcome = run(small(store, lai_run(**settings)), client)
    assert (outcome.cells_set_aside, outcome.failures) == (1, {})
    assert_set_aside(store, good, cell=2, first=12)
    status = ledger.statuses(open_store(str(store)), "lai")
    assert list(status[:, 2]) == [ledger.DONE, ledger.SET_ASIDE, ledger.SET_ASIDE]
    kept = ["20070421T09", "20070424T09"]
    for member in members:
        root, sound = open_store(str(store)), open_store(str(good))
        first, last = (read_region(root, f"restarts/lai{member}/{instant}", "soil_water") for instant in kept)
        assert np.isfinite(first[2, [3, 6, 9], 3]).all()
        np.testing.assert_array_equal(last[2], first[2])
        other = read_region(sound, f"restarts/lai{member}/{kept[1]}", "soil_water")
        np.testing.assert_array_equal(np.delete(last, 2, axis=0), np.delete(other, 2, axis=0))


@pytest.mark.parametrize(("start", "aside"), [("2007-04-15", True), ("2007-04-05", False)])
def test_a_cell_that_the_open_loop_lost_before_the_start_is_set_aside(
    store: Path, client: Client, start: str, aside: bool
) -> None:
    """The open loop lost cell 3 in its second period, which begins on 11 April."""
    root = open_store(str(store), "a")
    status = np.array([ledger.DONE, ledger.SET_ASIDE], dtype="int8")
    for index in (1, 2):
        ledger.mark(root, "open_loop", Block(1, 2, 4), Period(index, FIRST_DAY, FIRST_DAY, slice(0, 1)), status)
    outcome = run(small(store, lai_run(start=start)), client)
    assert outcome.cells_set_aside == int(aside)
    assert np.isnan(read(store, "lai", "LAI")[:, 3]).all() == aside
    assert np.isfinite(read(store, "lai", "LAI")[:, :3]).all()


# --- ensembles, periods, interruptions, extension -----------------------------------------------------------------


def ensemble_run(**settings: Any) -> dict[str, Any]:
    """Two observation types in an ensemble of four."""
    return {
        "name": "ensemble",
        "filter": "ensrf",
        "ensrf": {"members": 4, "seed": 3},
        "observations": [{"name": "swi"}, {"name": "lai"}],
        **settings,
    }


def common_hashes(path: Path, other: Path, *groups: str) -> int:
    """Compares all arrays below the groups that both stores have; their number."""
    found, expected = array_hashes(str(path)), array_hashes(str(other))
    common = [name for name in expected if name.startswith(groups) and name in found]
    assert {name: found[name] for name in common} == {name: expected[name] for name in common}
    return len(common)


def test_an_ensemble_does_not_depend_on_periods_and_blocks(
    store: Path, inputs: Path, client: Client, tmp_path: Path
) -> None:
    assert run(small(store, ensemble_run()), client).complete
    other = tmp_path / "other"
    shutil.copytree(inputs, other)
    execution = {"cells_per_block": 3, "days_per_period": 24}
    assert run(small(other, ensemble_run(), execution=execution), client).complete
    assert common_hashes(other, store, "runs/", "restarts/ensemble") > 4 * 15
    root = open_store(str(store))
    lai = np.stack(
        [read_region(root, f"restarts/ensemble-member-{n:02d}/20070424T09", "leaf_area_index") for n in range(4)]
    )
    spread = lai.std(axis=0)[:, [3, 6, 9]]
    assert (spread > 0.0).all()
    used = read(store, "ensemble", "quality_swi") == Quality.USED
    residual, innovation = (np.abs(read(store, "ensemble", f"{n}_swi"))[used] for n in ("residual", "innovation"))
    assert (residual < innovation).mean() > 0.95


def test_an_interrupted_preparation_is_made_good(
    store: Path, good: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the templates: groups that exist but are not whole do not stay."""
    made: list[str] = []

    def interrupted(root: zarr.Group, name: str, instant: np.datetime64, *rest: Any, **settings: Any) -> None:
        if made:
            root.create_group(f"restarts/{name}/20070421T09")  # a group without its arrays
            raise KeyboardInterrupt
        made.append(name)
        create(root, name, instant, *rest, **settings)

    create: Callable[..., None] = assimilate.create_restart
    with monkeypatch.context() as patch:
        patch.setattr(assimilate, "create_restart", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(stage_of(small(store, lai_run())))
    assert run(small(store, lai_run()), client).complete
    assert common_hashes(store, good, "runs/lai/", "restarts/lai/") > 60


def test_bit_identical_after_extending(inputs: Path, good: Path, client: Client, tmp_path: Path) -> None:
    """A later end: the last period, cut short by the first end, is run again."""
    path = tmp_path / "store"
    shutil.copytree(inputs, path)
    early = {"period": {"start": "2007-04-01", "end": "2007-04-16"}, "open_loop": {"restart_on": ["2007-04-15"]}}
    assert run(small(path, lai_run(), **early), client).complete
    assert "20070416T09" in open_store(str(path))["restarts/lai"]
    late = {"open_loop": {"restart_on": ["2007-04-15"]}}
    assert run(small(path, lai_run(), **late), client).complete
    assert "20070416T09" not in open_store(str(path))["restarts/lai"]
    assert common_hashes(path, good, "runs/", "restarts/lai/") > 60


def test_a_run_on_rescaled_observations_is_not_extended(inputs: Path, client: Client, tmp_path: Path) -> None:
    """Its climatology would be that of another period."""
    path = tmp_path / "store"
    shutil.copytree(inputs, path)
    early = {"period": {"start": "2007-04-01", "end": "2007-04-16"}, "open_loop": {}}
    swi = {"name": "swi", "rescale": "linear"}
    to_all = {"name": "scaled", "end": "2007-04-10", "observations": [swi]}
    period = {"start": "2007-04-01", "end": "2007-04-15"}
    to_part = {"name": "part", "end": "2007-04-10", "observations": [{**swi, "rescale_period": period}]}
    assert run(small(path, to_part, to_all, **early), client).complete
    before = array_hashes(str(path))
    with pytest.raises(ConfigurationError, match="rescaled_to_open_loop_until"):
        run(small(path, to_part, to_all, open_loop={}), client)  # after the one with a period of its own
    after = array_hashes(str(path))
    assert {name: after[name] for name in before if "/part/" in name} == {
        name: before[name] for name in before if "/part/" in name
    }


def test_a_period_of_statistics_belongs_to_a_rescaling(tmp_path: Path) -> None:
    period = {"start": "2007-04-05", "end": "2007-04-01"}
    with pytest.raises(ValidationError, match=r"2007-04-01 is before start 2007-04-05"):
        small(tmp_path, {"name": "w", "observations": [{"name": "swi", "rescale": "cdf", "rescale_period": period}]})
    period["end"] = "2007-04-09"
    with pytest.raises(ValidationError, match="not rescaled"):
        small(tmp_path, {"name": "wrong", "observations": [{"name": "swi", "rescale_period": period}]})


def test_other_settings_are_refused_with_their_names(good: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"assimilation\.sekf\.lai_error: 0\.2 in the store, 0\.3 now"):
        prepare(stage_of(small(good, {**lai_run(), "sekf": {"lai_error": 0.3}})))


def test_projected_memory_grows_with_members_and_days(store: Path) -> None:
    few, many = (stage_of(small(store, ensemble_run(ensrf={"members": members}))) for members in (2, 40))
    assert few.memory_bytes(4) < many.memory_bytes(4)
    assert stage_of(small(store, lai_run())).work_days(stage_of(small(store, lai_run())).periods()[0]) == 90.0
    longer = stage_of(small(store, lai_run(), execution={"cells_per_block": 2, "days_per_period": 366}))
    assert longer.memory_bytes(4) > stage_of(small(store, lai_run())).memory_bytes(4)


def test_means_are_those_of_the_window(store: Path, client: Client) -> None:
    """With nothing to assimilate: from 09 to 09 UTC, of the model itself."""
    write_observations(store, "lai", daily(6.0), {"value": np.full((DAYS, CELLS), np.nan)})
    per_patch = {"mean": ["LE"], "instant": [*STATES], "per_patch": ["LAI"]}
    path = store.parent / "patches"
    shutil.copytree(store, path)
    for group in ("ledger", "runs", "restarts"):
        del open_store(str(path), "a")[group]
    config = small(path, lai_run(), output=per_patch)
    assert run(config, client).complete
    stage = stage_of(config)
    assert isinstance(stage, LandStage)
    root, block = open_store(str(path)), Block(0, 0, CELLS)
    parameters = stage.parameters(root, block)
    begin, stop = FIRST_DAY + np.timedelta64(9, "h"), FIRST_DAY + np.timedelta64(3 * 24 + 9, "h")
    state = landmodel.cold_start(parameters, air_temperature=285.0)
    state, _ = stage.run_model(parameters, state, stage.forcing(root, block, FIRST_DAY, begin), FIRST_DAY, begin)
    request = OutputRequest(mean=("LE",), end=("LAI",))
    _, outputs = stage.run_model(parameters, state, stage.forcing(root, block, begin, stop), begin, stop, request)
    expected = landmodel.aggregate(outputs["LE"], parameters, CELLS).astype("float32")
    np.testing.assert_array_equal(read(path, "lai", "LE")[:3], expected)
    patches = read(path, "lai", "LAI_patch")[:3]
    np.testing.assert_array_equal(patches[:, parameters.cell, parameters.patch - 1], outputs["LAI"].astype("float32"))
    assert np.isnan(patches[:, :, 0]).all()
