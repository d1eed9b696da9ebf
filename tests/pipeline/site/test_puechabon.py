"""The example of Puechabon, two months of it, from its files to results."""

import numpy as np
import pytest
import xarray as xr
import yaml

from ldas.assim import Quality
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.store.arrays import open_run
from tests.helpers.toy import Silence
from tests.support import REPOSITORY, shared

RECORD = "data/site_flux/FLX_FR-Pue_FLUXDATAKIT_FULLSET_DD_2000_2014_2-3.csv"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    """The example with its period cut to May and June 2001, after two years of spin-up instead of twenty."""
    record, folder = shared(RECORD), tmp_path_factory.mktemp("puechabon")
    (folder / "puechabon").mkdir()
    for source in (REPOSITORY / "examples" / "puechabon").glob("*.yaml"):
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
        if "files" in content:
            content["files"] = [str(record)]
        if source.stem == "forcing":
            content["period"] = {"start": "2001-04-30", "end": "2002-05-02"}
        (folder / "puechabon" / source.name).write_text(yaml.safe_dump(content), encoding="utf-8")
    content = yaml.safe_load((REPOSITORY / "examples" / "puechabon.yaml").read_text(encoding="utf-8"))
    content["store"]["url"] = "store.zarr"
    content["period"] = {"start": "2001-05-01", "end": "2001-06-30"}
    content["spin_up"]["repetitions"] = 2
    content["report"] = False
    content["execution"]["cluster"] = {"workers": 1}
    (folder / "puechabon.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    config = load_experiment(folder / "puechabon.yaml")
    assert {row.state for row in check_experiment(config)} == {"ok"}
    result = run_experiment(config, Silence())
    assert result.complete
    assert list(result.outcomes) == ["spin_up", "open_loop", "lai"]
    return open_run(config.location)


def test_the_assimilation_follows_the_observed_leaf_area(tree: xr.DataTree) -> None:
    free, run = tree["runs/open_loop"].to_dataset(), tree["runs/lai"].to_dataset()
    free = free.sel(time=run["time"])
    # the window that ends at 09 UTC holds the end of the day before
    lai = tree["observations/lai"].to_dataset().swap_dims(time="nominal_time")
    observed = lai["value"].sel(nominal_time=run["time"].values - np.timedelta64(1, "D"))[:, 0].values
    assert np.isfinite(observed).all()
    assert (run["quality_lai"] == Quality.USED).mean() > 0.95
    np.testing.assert_allclose(run["innovation_lai"][:, 0], observed - run["LAI_forecast"][:, 0], atol=1e-5)

    def rmsd(values: xr.DataArray) -> float:
        return float(np.sqrt(np.mean((values.values[:, 0] - observed) ** 2)))

    # two months after a short spin-up, of which the filter needs ten days to find the observations
    assert rmsd(run["LAI"]) < rmsd(run["LAI_forecast"]) < rmsd(free["LAI"])
    used = run["quality_lai"].values == Quality.USED
    residual, innovation = (np.abs(run[f"{name}_lai"].values[used]) for name in ("residual", "innovation"))
    assert (residual <= innovation).all()
    increment = run["increment_LAI"].values[used]
    assert (np.sign(increment) == np.sign(run["innovation_lai"].values[used])).all()
    assert float(np.abs(run["increment_WG4"]).max()) > 0.0


def test_fluxes_are_those_of_a_mediterranean_forest(tree: xr.DataTree) -> None:
    run, tower = tree["runs/lai"].to_dataset(), tree["insitu/tower"].to_dataset()
    tower = tower.sel(time=run["time"])
    for name, low, high in (("LE", 20.0, 160.0), ("RN", 80.0, 250.0), ("GPP", 5e-8, 6e-7)):
        for found in (run[name][:, 0], tower[name][0]):
            assert low < float(found.mean()) < high, name
    together = np.isfinite(tower["LE"][0].values)
    assert np.corrcoef(run["LE"].values[together, 0], tower["LE"].values[0, together])[0, 1] > 0.4
    assert np.isnan(run["LAI"]).sum() == 0
