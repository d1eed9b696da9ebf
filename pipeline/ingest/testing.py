"""What every source of an ingestion must do, as tests.

Example:
    >>> class TestMine(SourceContract):
    ...     source = "mine"
    ...
    ...     @pytest.fixture
    ...     def config(self, tmp_path):
    ...         return {"files": [str(write_a_file(tmp_path))]}
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ldas.landmodel.errors import LdasError
from ldas.pipeline.ingest import check_ingest, run_ingest, source_names
from ldas.pipeline.store.arrays import array_hashes, existing_group, open_dataset, open_store
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.opening import exists

_FAMILIES = ("land", "forcing", "observations/", "insitu/", "runs/")


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

    def groups(self, folder: Path, keys: Mapping[str, Any]) -> Iterator[Any]:
        """The datasets that it writes."""
        store, groups = self.run(folder, keys)
        for group in groups:
            yield open_dataset(store, group).load()

    def test_it_has_a_line_of_what_it_reads(self) -> None:
        assert source_names()[self.source].strip()

    def test_its_groups_are_complete_and_where_others_look_for_them(
        self, config: Mapping[str, Any], tmp_path: Path
    ) -> None:
        store, groups = self.run(tmp_path, config)
        assert groups
        for group in groups:
            assert group.startswith(_FAMILIES)
            assert existing_group(open_store(store), group).attrs["complete"] is True

    def test_values_have_cells_units_and_a_time_that_grows(self, config: Mapping[str, Any], tmp_path: Path) -> None:
        for dataset in self.groups(tmp_path, config):
            assert "cell" in dataset.dims
            for name, array in dataset.data_vars.items():
                assert array.attrs.get("units"), name
                assert array.attrs.get("long_name"), name
            if "time" in dataset.dims:
                assert (np.diff(dataset["time"].to_numpy()) > np.timedelta64(0)).all()
            values = dataset[next(iter(dataset.data_vars))].to_numpy()
            assert np.isfinite(values.astype(np.float64)).any()

    def test_twice_the_same(self, config: Mapping[str, Any], tmp_path: Path) -> None:
        found = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            store, _ = self.run(tmp_path / name, config)
            found.append(array_hashes(store))
        assert found[0] == found[1]

    def test_what_is_stored_is_never_replaced(self, config: Mapping[str, Any], tmp_path: Path) -> None:
        store, _ = self.run(tmp_path, config)
        before = array_hashes(store)
        with pytest.raises(LdasError):
            self.run(tmp_path, config)
        assert array_hashes(store) == before

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
