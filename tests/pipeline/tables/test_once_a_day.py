"""The warning of tables in which a variable that changes once a day differs between the rows of a day."""

import json

import numpy as np
import pytest

from ldas.pipeline.evaluation.plan import make_plan
from ldas.pipeline.ingest import run_ingest
from ldas.pipeline.store.arrays import existing_group, open_store
from ldas.pipeline.tables.analyse import run_analysis_command
from ldas.pipeline.tables.once_a_day import changes_once_a_day, warnings_of_table
from ldas.pipeline.tables.table import read_training_table
from ldas.pipeline.tables.train import run_training_command
from tests.pipeline.ingest import samples
from tests.pipeline.tables.test_training import INTACT_TABLE, NAMES, QUICK, WINDOWS, table
from tests.support import shared

HOURS = np.array(["10", "22"] * 3)
DAYS = np.repeat(["2010-05-01", "2010-05-02", "2010-05-03"], 2)
TIMES = np.array([f"{day}T{hour}" for day, hour in zip(DAYS, HOURS, strict=True)], "datetime64[s]")
# Standard deviations of the days: 0.1 sqrt(2), 0, 0.2 sqrt(2), mean 0.14142; of the series: sqrt(4.10 / 5) = 0.90554.
ALTERED = np.array([0.9, 1.1, 2.0, 2.0, 2.8, 3.2])
SAID = "on 2 of 3 days by 0.156"


@pytest.mark.parametrize(
    "name", ["LAI", "LAI_ISBA", "BIOMA1", "BIOMA2", "BIOMASS1", "slop", "slope", "curv", "curvature", "slop_noise"]
)
def test_what_changes_once_a_day(name):
    assert changes_once_a_day(name)


@pytest.mark.parametrize("name", ["sig", "sig_noise", "WG2", "TG1", "FAPAR", "RN_ISBA", "GPP_ISBA", "WR_ISBA", "XLAI"])
def test_what_follows_the_hour(name):
    assert not changes_once_a_day(name)


def test_an_intact_table_gives_no_warning():
    columns = {"LAI": ALTERED.reshape(3, 2).mean(axis=1).repeat(2), "WG2": ALTERED, "sig": -ALTERED}
    assert warnings_of_table(columns, TIMES) == ()


@pytest.mark.parametrize("times", [TIMES, DAYS.astype("datetime64[s]")], ids=["hours", "dates only"])
def test_the_numbers_of_an_altered_table(times):
    columns = {"LAI": ALTERED, "WG2": ALTERED, "BIOMA1": ALTERED.astype(np.float32), "curv": np.ones(6)}
    (warning,) = warnings_of_table(columns, times)
    assert f"LAI {SAID}, BIOMA1 {SAID}." in warning
    assert "WG2" not in warning
    assert "curv" not in warning


def test_only_rows_with_values_in_one_day_are_compared():
    missing = ALTERED.copy()
    missing[[0, 4, 5]] = np.nan
    assert warnings_of_table({"LAI": missing}, TIMES) == ()
    missing = ALTERED.copy()
    missing[0] = np.nan
    (warning,) = warnings_of_table({"LAI": missing}, TIMES)
    assert "LAI on 1 of 2 days by" in warning


def test_the_state_at_midnight_is_that_of_the_day_before():
    times = np.array(["2010-05-01T10", "2010-05-02T00", "2010-05-02T10", "2010-05-03T00"], "datetime64[s]")
    leaves = np.array([1.0, 1.0, 1.2, 1.2])
    assert warnings_of_table({"LAI": leaves}, times) == ()
    assert warnings_of_table({"LAI": leaves}, times.astype("datetime64[D]").astype("datetime64[s]")) != ()


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A synthetic table with noise on every row of LAI, and what has to be said of it."""
    leaves = 2.0 + np.sin(np.linspace(0.0, 12.0, 730)) + np.tile([-0.1, 0.1], 365)
    pairs = leaves.reshape(365, 2)
    ratio = np.mean(np.abs(pairs[:, 1] - pairs[:, 0]) / np.sqrt(2.0)) / leaves.std(ddof=1)
    path = table(tmp_path_factory.mktemp("noisy") / "noisy.nc", LAI_ISBA=("obs", leaves), TG2=("obs", 280.0 + leaves))
    return path, f"LAI_ISBA on 365 of 365 days by {ratio:.3f}"


def test_train_and_analyse_warn_in_text_json_and_store(noisy, tmp_path):
    path, said = noisy
    url, figures = tmp_path / "store.zarr", tmp_path / "figures.json"
    settings = {**WINDOWS, "options": QUICK, "json_file": figures}
    assert said in run_training_command([path], **settings, store=url).to_text()
    (note,) = json.loads(figures.read_text())["cells"][0]["notes"]
    assert said in note
    assert existing_group(open_store(url), "operators/sigma40").attrs["notes"] == [f"noisy.nc: {note}"]
    assert said in run_analysis_command([path], **settings).to_text()
    assert note in json.loads(figures.read_text())["cells"][0]["notes"]


def test_ingestion_warns_in_text_and_in_both_groups(noisy, tmp_path):
    path, said = noisy
    files = [str(path), str(table(tmp_path / "intact.nc", cell=1))]
    for year in (2007, 2008):
        settings = {
            "files": files,
            "period": {"start": f"{year}-01-01", "end": f"{year}-12-31"},
            "store": {"url": "store.zarr"},
            "append": True,
        }
        for written in run_ingest("collocated", samples.write_config(tmp_path / "c.yaml", **settings)):
            assert str(written).count(said) == 1
    root = open_store(tmp_path / "store.zarr")
    for group in ("runs/open_loop", "observations/sigma40"):
        attributes = existing_group(root, group).attrs.asdict()
        (note,) = attributes["notes"]
        assert note.startswith("noisy.nc: warning: ")
        assert said in note
        assert [record["notes"] for record in attributes["ingests"]] == [[note], [note]]
    assert f"open_loop: {note}" in make_plan(root).notes


def test_an_intact_table_is_ingested_without_notes(tmp_path):
    path = table(tmp_path / "intact.nc")
    config = samples.write_config(tmp_path / "c.yaml", files=[str(path)], store={"url": "store.zarr"})
    assert all(written.notes == () for written in run_ingest("collocated", config))
    attributes = existing_group(open_store(tmp_path / "store.zarr"), "runs/open_loop").attrs.asdict()
    assert "notes" not in attributes
    assert "notes" not in attributes["ingests"][0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (INTACT_TABLE.rsplit("/", 1)[1], ""),
        (
            "isba_ascat_44.375N_0.625E_2007-2016.nc",
            "slop on 1565 of 1565 days by 0.111, curv on 1565 of 1565 days by 0.172, "
            "BIOMA1 on 1565 of 1565 days by 0.081, BIOMA2 on 1565 of 1565 days by 0.093",
        ),
        (
            "isba_ascat_46.125N_6.625E_2007-2019.nc",
            "slop on 2431 of 2431 days by 0.117, curv on 2431 of 2431 days by 0.169, "
            "BIOMA1 on 2413 of 2413 days by 0.080, BIOMA2 on 2413 of 2413 days by 0.097",
        ),
        (
            "isba_ascat_53.375N_6.125E_2007-2019.nc",
            "slop on 2483 of 2483 days by 0.096, curv on 2483 of 2483 days by 0.176, "
            "BIOMA1 on 2465 of 2465 days by 0.067, BIOMA2 on 2465 of 2465 days by 0.074",
        ),
    ],
)
def test_three_of_the_four_public_series_are_altered(name, said):
    notes = read_training_table(shared(f"data/ldas/{name}"), NAMES).notes
    warnings = [note for note in notes if note.startswith("warning")]
    assert len(warnings) == bool(said)
    assert all(said in warning for warning in warnings)
