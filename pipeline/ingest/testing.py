"""What every source of an ingestion must do, as tests.

Example:
    >>> class TestMine(SourceContract):
    ...     source = "mine"
    ...
    ...     @pytest.fixture
    ...     def config(self, tmp_path):
    ...         return {"files": [str(write_a_file(tmp_path))]}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from ldas.landmodel.errors import LdasError
from ldas.pipeline import registry
from ldas.pipeline.ingest import check_ingest, run_ingest, source_names
from ldas.pipeline.store.arrays import array_hashes, existing_group, open_dataset, open_store
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.opening import exists

_FAMILIES = ("land", "forcing", "forecast_forcing/", "observations/", "insitu/", "runs/")


class SourceContract:
    """Subclasses set `source` and define the fixture `config`: keys of a configuration whose files are there."""

    source: str

    @pytest.fixture
    def config(self) -> Mapping[str, Any]:
        """Keys of the configuration, without `store`."""
        raise NotImplementedError

    def run(self, folder: Path, keys: Mapping[str, Any]) -> tuple[Location, list[str]]:
        """Ingests into a store of this folder; the store and the groups that were written."""
        store, file = Location(str(folder / "store")), folder / "ingest.yaml"
        file.write_text(yaml.safe_dump({"store": {"url": store.url}, **keys}), encoding="utf-8")
        return store, [written.group for written in run_ingest(self.source, file)]

    def test_it_has_a_line_of_what_it_reads(self) -> None:
        assert source_names()[self.source].strip()

    def test_what_it_writes(self, config: Mapping[str, Any], tmp_path: Path) -> None:
        """Complete groups where others look for them; the same again in another store, never over what is stored."""
        store, groups = self.run(tmp_path, config)
        assert groups
        for group in groups:
            assert group.startswith(_FAMILIES)
            assert existing_group(open_store(store), group).attrs["complete"] is True
            self.check_values(open_dataset(store, group).load())
        before = array_hashes(store)
        with pytest.raises(LdasError):
            self.run(tmp_path, config)
        assert array_hashes(store) == before  # what is stored is never replaced
        (tmp_path / "again").mkdir()
        assert array_hashes(self.run(tmp_path / "again", config)[0]) == before

    def check_values(self, dataset: xr.Dataset) -> None:
        """Cells or stations, names and units, a time that grows, and values."""
        assert {"cell", "station"} & set(dataset.dims)
        for name in map(str, set(dataset.data_vars) & set(registry.names())):
            assert dataset[name].attrs.get("long_name"), name
            assert dataset[name].dtype.kind != "f" or dataset[name].attrs.get("units"), name
        if "time" in dataset.dims:
            assert (np.diff(dataset["time"].to_numpy()) > np.timedelta64(0)).all()
        assert any(
            np.isfinite(array.to_numpy()).any() for array in dataset.data_vars.values() if array.dtype.kind == "f"
        )

    def test_an_unknown_key_is_refused_before_anything_is_written(
        self, config: Mapping[str, Any], tmp_path: Path
    ) -> None:
        with pytest.raises(LdasError, match="unheard_of: unknown key"):
            self.run(tmp_path, {**config, "unheard_of": 1})
        assert not exists(Location(str(tmp_path / "store")))

    def test_a_missing_file_is_said_and_leaves_no_group(self, config: Mapping[str, Any], tmp_path: Path) -> None:
        if "files" not in config:
            pytest.skip("this source has no `files`")
        keys = {**config, "files": ["absent.nc"]}
        with pytest.raises(LdasError, match=r"absent\.nc"):
            self.run(tmp_path, keys)
        with pytest.raises(LdasError, match=r"absent\.nc"):
            check_ingest(self.source, tmp_path / "ingest.yaml")
        store = Location(str(tmp_path / "store"))
        assert not exists(store) or not list(open_store(store).groups())
