"""The assimilation stage with the real land model: next to the open loop, and the means of its windows."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from ldas import landmodel
from ldas.assim import Quality
from ldas.landmodel import OutputRequest
from ldas.pipeline.stages.land import LandStage
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.ledger import Block
from tests.helpers.synthetic_store import COLD_DAYS, FIRST_DAY, write_observations
from tests.pipeline.stages.assimilate.support import (
    CELLS,
    DAY,
    DAYS,
    HUGE,
    STATES,
    Arrays,
    assert_same_states,
    daily,
    day_indices,
    lai_run,
    read,
    run,
    small,
    stage_of,
)


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
    request: pytest.FixtureRequest, threads: Client, tmp_path: Path, hour: int, start: str | None, restart: str
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
    assert run(config, threads).complete
    days = day_indices(path, name)
    first = 0 if start is None else int(start[-2:]) - 1
    np.testing.assert_array_equal(days, np.arange(first + (hour > 0), DAYS - (hour == 0)))
    quality, innovation = read(path, name, "quality_swi"), read(path, name, "innovation_swi")
    assert (quality == Quality.USED).sum() > 0.5 * quality.size
    assert np.abs(innovation[quality == Quality.USED]).max() > 0.1
    assert_same_states(path, name, restart)


def test_missing_observations_change_nothing_and_are_coded(store: Path, threads: Client) -> None:
    write_observations(store, "lai", daily(6.0), {"value": np.full((DAYS, CELLS), np.nan)})
    assert run(small(store, lai_run()), threads).complete
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
    forcing = stage.forcing(root, block, FIRST_DAY, stop, parameters)
    state = landmodel.cold_start(parameters, air_temperature=285.0)
    request = OutputRequest(instant=("LAI", "WG"), instant_hour=9)
    _, outputs = stage.run_model(parameters, state, forcing, FIRST_DAY, stop, request)
    return {
        "lai": landmodel.aggregate(outputs["LAI"], parameters, CELLS),
        "swi": landmodel.aggregate(outputs["WG"][:, :, 1], parameters, CELLS),
    }


def test_observations_like_the_forecast_give_no_increment(store: Path, threads: Client) -> None:
    for name, values in forecast_of_the_open_loop(store).items():
        write_observations(store, name, daily(9.0), {"value": values})
    both = {"name": "both", "observations": [{"name": "lai"}, {"name": "swi"}]}
    assert run(small(store, both), threads).complete
    frozen = np.isin(day_indices(store, "both"), np.arange(*COLD_DAYS))
    for name in ("lai", "swi"):
        quality = read(store, "both", f"quality_{name}")
        assert (quality[~frozen] == Quality.USED).mean() > 0.9
        assert np.abs(read(store, "both", f"innovation_{name}")).max() < 1e-12
    assert_same_states(store, "both", "20070424T09")


def test_observations_above_the_forecast_raise_it(store: Path, threads: Client) -> None:
    truth = forecast_of_the_open_loop(store)
    write_observations(store, "lai", daily(9.0), {"value": truth["lai"] + 0.5})
    assert run(small(store, lai_run()), threads).complete
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


def test_means_are_those_of_the_window(store: Path, threads: Client) -> None:
    """With nothing to assimilate: from 09 to 09 UTC, of the model itself."""
    write_observations(store, "lai", daily(6.0), {"value": np.full((DAYS, CELLS), np.nan)})
    per_patch = {"mean": ["LE"], "instant": [*STATES], "per_patch": ["LAI"]}
    path = store.parent / "patches"
    shutil.copytree(store, path)
    for group in ("ledger", "runs", "restarts"):
        del open_store(str(path), "a")[group]
    config = small(path, lai_run(), output=per_patch)
    assert run(config, threads).complete
    stage = stage_of(config)
    assert isinstance(stage, LandStage)
    root, block = open_store(str(path)), Block(0, 0, CELLS)
    parameters = stage.parameters(root, block)
    begin, stop = FIRST_DAY + np.timedelta64(9, "h"), FIRST_DAY + np.timedelta64(3 * 24 + 9, "h")
    state = landmodel.cold_start(parameters, air_temperature=285.0)
    state, _ = stage.run_model(
        parameters, state, stage.forcing(root, block, FIRST_DAY, begin, parameters), FIRST_DAY, begin
    )
    request = OutputRequest(mean=("LE",), end=("LAI",))
    _, outputs = stage.run_model(
        parameters, state, stage.forcing(root, block, begin, stop, parameters), begin, stop, request
    )
    expected = landmodel.aggregate(outputs["LE"], parameters, CELLS).astype("float32")
    np.testing.assert_array_equal(read(path, "lai", "LE")[:3], expected)
    patches = read(path, "lai", "LAI_patch")[:3]
    np.testing.assert_array_equal(patches[:, parameters.cell, parameters.patch - 1], outputs["LAI"].astype("float32"))
    assert np.isnan(patches[:, :, 0]).all()
