"""Ensembles, periods, interruptions and a later end."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client

from ldas.assim import Quality
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.stages import assimilate
from ldas.pipeline.store.arrays import array_hashes, open_store, read_region
from tests.pipeline.stages.assimilate.support import common_hashes, ensemble_run, lai_run, read, run, small, stage_of


def test_an_ensemble_does_not_depend_on_periods_and_blocks(
    store: Path, inputs: Path, threads: Client, tmp_path: Path
) -> None:
    assert run(small(store, ensemble_run()), threads).complete
    other = tmp_path / "other"
    shutil.copytree(inputs, other)
    execution = {"cells_per_block": 3, "days_per_period": 24}
    assert run(small(other, ensemble_run(), execution=execution), threads).complete
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
    store: Path, good: Path, threads: Client, monkeypatch: pytest.MonkeyPatch
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
    assert run(small(store, lai_run()), threads).complete
    assert common_hashes(store, good, "runs/lai/", "restarts/lai/") > 60


@pytest.mark.long
def test_bit_identical_after_extending(inputs: Path, good: Path, threads: Client, tmp_path: Path) -> None:
    """A later end: the last period, cut short by the first end, is run again."""
    path = tmp_path / "store"
    shutil.copytree(inputs, path)
    early = {"period": {"start": "2007-04-01", "end": "2007-04-16"}, "open_loop": {"restart_on": ["2007-04-15"]}}
    assert run(small(path, lai_run(), **early), threads).complete
    assert "20070416T09" in open_store(str(path))["restarts/lai"]
    late = {"open_loop": {"restart_on": ["2007-04-15"]}}
    assert run(small(path, lai_run(), **late), threads).complete
    assert "20070416T09" not in open_store(str(path))["restarts/lai"]
    assert common_hashes(path, good, "runs/", "restarts/lai/") > 60


def test_a_run_on_rescaled_observations_is_not_extended(inputs: Path, threads: Client, tmp_path: Path) -> None:
    """Its climatology would be that of another period."""
    path = tmp_path / "store"
    shutil.copytree(inputs, path)
    early = {"period": {"start": "2007-04-01", "end": "2007-04-16"}, "open_loop": {}}
    swi = {"name": "swi", "rescale": "linear"}
    to_all = {"name": "scaled", "end": "2007-04-10", "observations": [swi]}
    period = {"start": "2007-04-01", "end": "2007-04-15"}
    to_part = {"name": "part", "end": "2007-04-10", "observations": [{**swi, "rescale_period": period}]}
    assert run(small(path, to_part, to_all, **early), threads).complete
    before = array_hashes(str(path))
    with pytest.raises(ConfigurationError, match="rescaled_to_open_loop_until"):
        run(small(path, to_part, to_all, open_loop={}), threads)  # after the one with a period of its own
    after = array_hashes(str(path))
    assert {name: after[name] for name in before if "/part/" in name} == {
        name: before[name] for name in before if "/part/" in name
    }
