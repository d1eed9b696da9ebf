"""One site: its land from numbers, fluxes and LAI of its tower from a FLUXNET daily table."""

import numpy as np
import pytest

from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import run_ingest
from ldas.pipeline.store.arrays import decode_labels, has_group, open_dataset, open_store
from tests.pipeline.ingest import samples

PLACE = {"latitude": 43.7414, "longitude": 3.5958, "elevation": 270, "utc_offset_h": 1}
TABLE = """TIMESTAMP,LE_F_MDS,LE_F_MDS_QC,GPP_NT_VUT_REF,NEE_VUT_REF_QC,LAI
2010-01-01,40,1.0,3.0,0.9,1.5
2010-01-02,50,0.2,4.0,0.9,NA
2010-01-03,60,1.0,5.0,0.9,1.7
"""


def test_fluxes_and_leaf_area_of_a_tower(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    settings = samples.write_config(
        tmp_path / "tower.yaml", store={"url": "store.zarr"}, place=PLACE, code="XX-Own", files=["table.csv"]
    )
    done = run_ingest("tower", settings)
    assert {item.group for item in done} == {"insitu/tower", "observations/lai"}
    fluxes = open_dataset(tmp_path / "store.zarr", "insitu/tower").load()
    np.testing.assert_allclose(fluxes["LE"], [[40.0, 50.0, 60.0]])
    np.testing.assert_allclose(fluxes["LE_quality"], [[1.0, 0.2, 1.0]])
    np.testing.assert_allclose(fluxes["GPP"][0, 0], 3.0 * 44.0 / 12.0 / 86.4e6, rtol=1e-6)
    assert decode_labels(fluxes["code"]).tolist() == ["XX-Own"]
    lai = open_dataset(tmp_path / "store.zarr", "observations/lai").load()
    np.testing.assert_allclose(lai["value"][:, 0], [1.5, np.nan, 1.7])
    np.testing.assert_array_equal(lai["quality"][:, 0], [0, 1, 0])
    np.testing.assert_allclose(lai["uncertainty"][0, 0], 0.3)


@pytest.mark.parametrize("column", ["", ",LAI"])
def test_a_table_without_leaf_area_gives_its_fluxes(tmp_path, column):
    """As FLUXNET2015 has them; a column in which every value is missing is no leaf area either."""
    value = ",-9999" if column else ""
    rows = f"TIMESTAMP,LE_F_MDS,H_F_MDS{column}\n20100101,40,-9999{value}\n20100102,50,20{value}\n"
    (tmp_path / "table.csv").write_text(rows)
    settings = samples.write_config(
        tmp_path / "tower.yaml", store={"url": "store.zarr"}, place=PLACE, code="XX-Own", files=["table.csv"]
    )
    (done,) = run_ingest("tower", settings)
    assert done.group == "insitu/tower"
    assert str(done).splitlines()[1:] == ["table.csv has no value of LAI: observations/lai is not written"]
    fluxes = open_dataset(tmp_path / "store.zarr", done.group).load()
    np.testing.assert_allclose(fluxes["LE"], [[40.0, 50.0]])
    np.testing.assert_allclose(fluxes["H"], [[np.nan, 20.0]])
    assert not has_group(open_store(tmp_path / "store.zarr"), "observations/lai")


def test_a_table_of_leaf_area_alone_and_one_of_nothing(tmp_path):
    settings = samples.write_config(
        tmp_path / "tower.yaml", store={"url": "store.zarr"}, place=PLACE, code="XX-Own", files=["table.csv"]
    )
    (tmp_path / "table.csv").write_text("TIMESTAMP,LE_F_MDS,LAI\n20100101,-9999,-9999\n")
    with pytest.raises(IngestError, match=r"table\.csv: no value of LAI, GPP, .* is in the table"):
        run_ingest("tower", settings)
    (tmp_path / "table.csv").write_text("TIMESTAMP,LAI\n20100101,1.5\n20100102,1.6\n")
    (done,) = run_ingest("tower", settings)
    assert done.group == "observations/lai"
    assert done.notes == (
        "table.csv has no value of GPP, RECO, LE, H, RN, LE_CORR, H_CORR: insitu/tower is not written",
    )
    np.testing.assert_allclose(open_dataset(tmp_path / "store.zarr", done.group)["value"][:, 0], [1.5, 1.6])


def test_land_of_a_site(tmp_path):
    settings = samples.write_config(
        tmp_path / "site.yaml",
        store={"url": "store.zarr"},
        place=PLACE,
        clay=0.39,
        sand=0.14,
        patch_fraction={4: 0.7, 10: 0.3},
    )
    run_ingest("site", settings)
    land = open_dataset(tmp_path / "store.zarr", "land").load()
    np.testing.assert_allclose(land["patch_fraction"][0, [3, 9]], [0.7, 0.3])
    assert float(land["elevation"][0]) == 270.0
    bad = samples.write_config(
        tmp_path / "bad.yaml", store={"url": "b.zarr"}, place=PLACE, clay=0.4, sand=0.1, patch_fraction={4: 0.7}
    )
    with pytest.raises(IngestError, match=r"add to 1, got .*sum 0\.7"):
        run_ingest("site", bad)
