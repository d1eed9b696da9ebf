"""Settings, dates and stored operators of assimilations: what is found, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from pydantic import ValidationError

from ldas.assim import Quality
from ldas.assim.diagnostics import desroziers, estimated_error
from ldas.operators.cells import cell_ids_from_coordinates
from ldas.operators.direct import DirectOperator
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.settings.assimilation import AssimilatedConfig
from ldas.pipeline.stages.observation_types import error_of
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.operator_store import write_operator
from tests.helpers.synthetic_store import LONGITUDE, latitudes
from tests.pipeline.stages.assimilate.support import (
    CELLS,
    TWO_BLOCKS,
    ensemble_run,
    lai_run,
    read,
    run,
    small,
    stage_of,
    swi_run,
)


def stored_operator(path: Path, name: str, latitude: np.ndarray) -> None:
    """A stored operator of cells at these latitudes: the observation is LAI itself."""
    cells = cell_ids_from_coordinates(latitude, np.full(latitude.shape, LONGITUDE))
    write_operator(open_store(str(path), "a"), name, DirectOperator.leaf_area_index(cells))


def test_a_stored_operator_is_found_for_each_cell(store: Path, threads: Client) -> None:
    """More cells than the run has, in another order."""
    stored_operator(store, "all", latitudes(CELLS + 3)[::-1])
    assert run(small(store, lai_run(), lai_run("stored", operator="all")), threads).complete
    for name in ("LAI", "innovation_lai", "increment_LAI", "increment_WG5"):
        np.testing.assert_array_equal(read(store, "stored", name), read(store, "lai", name))
    found = read(store, "stored", "lai") - read(store, "stored", "LAI")
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


def test_an_operator_of_other_cells_is_refused(divided: Path, threads: Client) -> None:
    stored_operator(divided, "few", latitudes(CELLS)[:3])
    outcome = run(small(divided, lai_run(operator="few"), execution=TWO_BLOCKS), threads)
    assert list(outcome.failures) == [1]  # the block of cells 2 and 3
    assert "operator 'few' was made for other cells: 1 of the 2 asked for are missing" in outcome.failures[1]


def test_an_operator_that_is_not_there(divided: Path, threads: Client) -> None:
    outcome = run(small(divided, lai_run(operator="none"), execution=TWO_BLOCKS), threads)
    assert sorted(outcome.failures) == [0, 1]
    assert "group 'operators/none'" in outcome.failures[0]
    assert "there are: " in outcome.failures[0]


def test_missing_observation_group(store: Path, threads: Client) -> None:
    outcome = run(small(store, {"name": "ssm", "observations": [{"name": "ssm"}]}), threads)
    assert "'observations/ssm': not in the store; ingest them, or leave 'ssm' out" in outcome.failures[0]


def test_stored_diagnostics_and_an_error_estimated_from_them(store: Path, threads: Client) -> None:
    estimated = {"kind": "estimated", "size": 0.05, "from_run": "swi"}
    config = small(store, swi_run(), swi_run("second", error=estimated))
    assert run(config, threads).complete
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
    error = error_of(root, entry, Block(1, 2, 4))
    expected = estimated_error(desroziers(d[:, 2:], 0.5 * d[:, 2:]), 0.05)
    assert (error.kind, expected[1]) == ("absolute", 0.1)
    np.testing.assert_array_equal(error.size, expected)


def test_dates_that_cannot_be_met(store: Path, threads: Client) -> None:
    with pytest.raises(ValidationError, match="2007-05-24 is outside the period"):
        small(store, lai_run(end="2007-05-24"))
    with pytest.raises(ValidationError, match="must be after start"):
        small(store, lai_run(start="2007-04-10", end="2007-04-10"))
    with pytest.raises(ConfigurationError, match="no 24 h window between 2007-04-24 and 2007-04-24"):
        prepare(stage_of(small(store, lai_run(start="2007-04-24"))))
    root = open_store(str(store), "a")
    group = root["forcing"]
    # As after an append of ldas that was cut off: what is complete is used.
    group.attrs.update({"committed": {**group.attrs["committed"], "time": 24 * 15 + 1}, "appending": True})
    outcome = run(small(store, lai_run()), threads)
    assert "the forcing of the store runs from 2007-04-01T00:00:00 to 2007-04-16T00:00:00" in outcome.failures[0]
    assert "2007-04-11T09:00:00 to 2007-04-21T09:00:00 is needed" in outcome.failures[0]
    status = ledger.statuses(root, "lai")
    assert (status[0] == ledger.DONE).all()
    assert np.isfinite(read(store, "lai", "LAI")[:10]).all()


def test_a_missing_restart_of_the_open_loop(store: Path, threads: Client) -> None:
    del open_store(str(store), "a")["restarts/open_loop/20070411T00"]
    outcome = run(small(store, lai_run(start="2007-04-13")), threads)
    assert "no restart 'restarts/open_loop/20070411T00' in the store" in outcome.failures[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "lai", "rescale_months": 2}, "odd number"),
        ({"name": "sigma40"}, "is not observed directly .*: name the operator that predicts it"),
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
