"""An assimilation run again without each of its observation types: the runs, and what the report makes of them."""

from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from ldas.assim import Quality
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.evaluation.evaluate import evaluate
from ldas.pipeline.plan import build_stages
from ldas.pipeline.report.consistency_section import consistency
from ldas.pipeline.report.sources import Sources
from ldas.pipeline.stages.assimilate import Assimilate
from tests.pipeline.stages.assimilate.support import lai_run, read, run, small

SHORT = {"end": "2007-04-18"}
BOTH = {"name": "both", "observations": [{"name": "swi", "rescale": "linear"}, {"name": "lai"}], **SHORT}


def identities(path: Path, **settings: bool) -> dict[str, object]:
    stages = [one for one in build_stages(small(path, {**BOTH, **settings})) if isinstance(one, Assimilate)]
    return {stage.name: stage.identity()["assimilation"] for stage in stages}


def test_runs_without_one_type(store: Path, threads: Client, tmp_path: Path) -> None:
    config = small(store, lai_run(**SHORT), {**BOTH, "leave_one_out": True})
    assert run(config, threads).complete
    for name in ("LAI", "WG2", "increment_LAI", "innovation_lai", "chi_square"):
        np.testing.assert_array_equal(read(store, "both_without_swi", name), read(store, "lai", name), err_msg=name)
    codes = read(store, "both_without_swi", "quality_swi")
    assert not (codes == Quality.USED).any()
    assert (codes == Quality.NOT_ASSIMILATED).any()
    assert np.isfinite(read(store, "both_without_swi", "innovation_swi")).any()
    assert (read(store, "both", "LAI") != read(store, "both_without_lai", "LAI")).any()

    sources = Sources(evaluate(store, scores=tmp_path / "scores.zarr"))
    tables = {table.file: table.frame for table in consistency(sources).tables}
    found = tables["leave_one_out"].set_index(["without", "score"])
    scores = sources.scores.dataset("lai_observations")["rmsd"]
    whole, less = (scores.sel(series=name).values for name in ("both", "both_without_lai"))
    row = found.loc[("lai", "RMSD of leaf area index")]
    assert row["with all"] == pytest.approx(np.median(whole), rel=1e-6)
    assert row["without it"] == pytest.approx(np.median(less), rel=1e-6)
    assert row["cells worse without"] == (less > whole).mean() > 0.0
    freedom = tables["degrees_of_freedom"].set_index(["experiment", "observation"])
    assert freedom.loc[("both", "swi"), "part"] + freedom.loc[("both", "lai"), "part"] == pytest.approx(1.0)
    dfs = np.where(read(store, "both", "quality_lai") == Quality.USED, read(store, "both", "dfs_lai"), 0.0)
    assert freedom.loc[("both", "lai"), "degrees of freedom"] == pytest.approx(dfs.sum(), rel=1e-5)
    assert ("both_without_lai", "lai") not in freedom.index


def test_it_can_be_asked_for_later(store: Path) -> None:
    """The run itself is the same one with it and without it."""
    alone, with_them = identities(store), identities(store, leave_one_out=True)
    assert list(with_them) == ["both", "both_without_swi", "both_without_lai"]
    assert alone["both"] == with_them["both"]


def test_what_check_says(store: Path) -> None:
    rows = check_experiment(small(store, {**BOTH, "leave_one_out": True}), values=False)
    said = [row.detail for row in rows if row.what == "assimilation both"]
    assert said == ["is run again without one observation type each: both_without_swi, both_without_lai"]


@pytest.mark.parametrize("observations", [[{"name": "lai"}], [{"name": "lai"}, {"name": "swi", "assimilate": False}]])
def test_one_type_alone_cannot_be_left_out(tmp_path: Path, observations: list[dict[str, object]]) -> None:
    with pytest.raises(ValueError, match="assimilation both: `leave_one_out` needs at least two observation types"):
        small(tmp_path, {"name": "both", "observations": observations, "leave_one_out": True})
