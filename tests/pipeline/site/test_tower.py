"""Ingestion of a site and of a flux tower's daily table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from ldas.assim.quality import Quality
from ldas.pipeline import registry
from ldas.pipeline.errors import IngestError, StoreError
from ldas.pipeline.ingest import run_ingest
from ldas.pipeline.ingest.tower import SiteConfig, TowerConfig, read_table, site_land, tower_groups
from ldas.pipeline.store.arrays import decode_labels, open_dataset
from ldas.pipeline.store.location import Location

PLACE = {"latitude": 43.74, "longitude": 3.6, "utc_offset_h": 1}
TABLE = """\
TIMESTAMP,GPP_NT_VUT_REF,RECO_NT_VUT_REF,NEE_VUT_REF_QC,LE_F_MDS,LE_CORR,H_F_MDS,NETRAD,LAI
2001-05-01,5.0,2.5,1,80.0,90.0,40.0,150.0,1.8
2001-05-02,6.0,2.6,0.9,-9999,-9999,45.0,160.0,-9999
2001-05-03,7.0,2.7,0.8,85.0,95.0,50.0,170.0,2.0
2001-05-04,8.0,2.8,0.7,86.0,96.0,55.0,-9999,0.0
2001-05-05,9.0,2.9,0.6,87.0,97.0,60.0,190.0,2.2
"""
DAYS = np.datetime64("2001-05-01", "ns") + np.arange(5) * np.timedelta64(1, "D")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A FLUXNET daily table."""
    path = tmp_path / "tower.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


def tower(**settings: Any) -> TowerConfig:
    """Configuration of the tower."""
    return TowerConfig.model_validate({"place": PLACE, "files": ["tower.csv"], "code": "FR-Xyz", **settings})


def site(**settings: Any) -> SiteConfig:
    """Configuration of the site."""
    return SiteConfig.model_validate(
        {"place": PLACE, "clay": 0.3, "sand": 0.4, "patch_fraction": {4: 0.75, 10: 0.25}, **settings}
    )


def test_fluxes_in_the_units_of_the_model(table: Path) -> None:
    fluxes = tower_groups(read_table([table]), tower())["insitu/tower"]
    assert fluxes.sizes == {"station": 1, "time": 5}
    np.testing.assert_array_equal(fluxes["time"].to_numpy(), DAYS)
    # 12 g of carbon are 44 g of carbon dioxide: the rounded masses of SURFEX, with which the model's own GPP is made.
    np.testing.assert_allclose(fluxes["GPP"][0], np.arange(5.0, 10.0) * 44.0 / 12.0 * 1e-3 / 86400.0, rtol=1e-12)
    assert fluxes["GPP"].attrs["units"] == registry.variable("GPP").unit
    np.testing.assert_array_equal(fluxes["LE"][0], [80.0, np.nan, 85.0, 86.0, 87.0])
    np.testing.assert_array_equal(fluxes["LE_CORR"][0], [90.0, np.nan, 95.0, 96.0, 97.0])
    np.testing.assert_array_equal(fluxes["RN"][0], [150.0, 160.0, 170.0, np.nan, 190.0])
    assert fluxes["LE_CORR"].attrs["units"] == "W m-2"
    assert "H_CORR" not in fluxes
    assert fluxes.attrs["days"] == "local standard time"
    assert list(decode_labels(fluxes["code"])) == ["FR-Xyz"]


def test_leaf_area_index_as_observations(table: Path) -> None:
    lai = tower_groups(read_table([table]), tower(lai_error=0.1))["observations/lai"]
    np.testing.assert_array_equal(lai["value"][:, 0], [1.8, np.nan, 2.0, np.nan, 2.2])
    np.testing.assert_allclose(lai["uncertainty"][:, 0], [0.18, np.nan, 0.2, np.nan, 0.22])
    codes = [Quality.USED, Quality.MISSING, Quality.USED, Quality.MISSING, Quality.USED]
    np.testing.assert_array_equal(lai["quality"][:, 0], codes)
    assert lai["quality"].dtype == np.int8
    np.testing.assert_allclose([lai["latitude"][0], lai["longitude"][0]], [43.74, 3.6])
    every_second = tower_groups(read_table([table]), tower(lai_days=2))["observations/lai"]
    np.testing.assert_array_equal(every_second["nominal_time"].to_numpy(), DAYS[::2])
    # a day of local standard time (UTC + 1) ends at 23 UTC
    np.testing.assert_array_equal(every_second["time"].to_numpy(), DAYS[::2] + np.timedelta64(23, "h"))
    np.testing.assert_array_equal(every_second["value"][:, 0], [1.8, 2.0, 2.2])


def test_tables_without_what_is_asked_for(table: Path) -> None:
    with pytest.raises(IngestError, match="one table of one site, 2 files"):
        read_table([table, table])
    observed = read_table([table])
    assert list(tower_groups(observed.drop_vars("LAI"), tower())) == ["insitu/tower"]
    without = observed.drop_vars([name for name in observed.data_vars if name != "LAI"])
    assert list(tower_groups(without, tower())) == ["observations/lai"]
    with pytest.raises(IngestError, match="no value of LAI, GPP, RECO, LE"):
        tower_groups(without.where(False), tower())


def test_land_of_a_site() -> None:
    land = site_land(site())
    expected = np.zeros(12)
    expected[[3, 9]] = 0.75, 0.25
    np.testing.assert_array_equal(land["patch_fraction"][0], expected)
    assert float(land["clay"][0]) == 0.3
    assert np.isnan(float(land["elevation"][0]))
    assert float(site_land(site(place={**PLACE, "elevation": 270}))["elevation"][0]) == 270.0


@pytest.mark.parametrize("fractions", [{4: 0.9}, {4: 0.6, 10: 0.6}, {0: 1.0}, {13: 1.0}, {4: 1.5, 10: -0.5}])
def test_fractions_that_cannot_be(fractions: dict[int, float]) -> None:
    with pytest.raises((IngestError, ValidationError), match="fraction"):
        site_land(site(patch_fraction=fractions))


def test_texture_in_percent_is_refused() -> None:
    with pytest.raises(ValidationError, match="clay"):
        site(clay=30.0)


def test_into_a_store(table: Path, tmp_path: Path) -> None:
    store = Location(str(tmp_path / "store"))
    for name, config in (("site", site()), ("tower", tower())):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
        assert run_ingest(name, path, store)
    assert float(open_dataset(store, "land")["patch_fraction"].sum()) == 1.0
    lai = open_dataset(store, "observations/lai")
    np.testing.assert_allclose(lai["value"][:, 0], [1.8, np.nan, 2.0, np.nan, 2.2], rtol=1e-6)
    assert lai["value"].attrs["units"] == "m2 m-2"
    insitu = open_dataset(store, "insitu/tower")
    assert str(insitu["time"].values[0])[:10] == "2001-05-01"
    assert list(decode_labels(insitu["code"])) == ["FR-Xyz"]
    with pytest.raises((StoreError, IngestError)):
        run_ingest("site", tmp_path / "site.yaml", store)
