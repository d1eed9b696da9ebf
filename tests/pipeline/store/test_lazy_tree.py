"""The tree of `open_run`: the groups that are complete, each opened when something of it is asked for."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from ldas import open_run
from ldas.pipeline.errors import StoreError
from ldas.pipeline.store import lazy_tree
from ldas.pipeline.store.arrays import open_dataset, open_store
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.portable import portable

SHOWN = ["/", "/land", "/runs", "/runs/ekf", "/runs/open_loop", "/runs/windows", "/runs/windows/ekf"]


def days(first: float) -> xr.Dataset:
    """Five days of leaf area index at three cells."""
    time = np.arange("2007-04-01", "2007-04-06", dtype="datetime64[D]").astype("datetime64[s]")
    values = first + np.arange(15, dtype="float32").reshape(5, 3)
    return xr.Dataset({"LAI": (("time", "cell"), values)}, coords={"time": time, "cell": np.arange(3)})


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Complete and unfinished groups, one below another, and those that the next run needs only."""
    root = open_store(str(tmp_path / "store"), "a")
    for path in ("land", "runs/ekf", "runs/open_loop", "restarts/ekf/20070405T09"):
        write_group(root, path, days(len(path)))
    for path in ("insitu/x", "runs/killed"):
        write_group(root, path, days(0.0))
        root[path].attrs["complete"] = False
    write_group(root, "runs/windows/ekf", xr.Dataset({"innovation": ("window", np.arange(2.0))}))
    root.create_group("operators")
    return str(tmp_path / "store")


def test_the_groups_that_are_complete(url: str) -> None:
    tree = open_run(url)
    assert sorted(node.path for node in tree.subtree) == SHOWN
    assert list(tree) == ["land", "runs"]
    for path in ("insitu", "insitu/x", "runs/killed", "restarts", "operators", "nothing"):
        with pytest.raises(KeyError):
            open_run(url)[path]
    assert "restarts/ekf/20070405T09" in {node.path[1:] for node in open_run(url, everything=True).leaves}
    for path in ("land", "runs/ekf", "runs/windows/ekf"):
        xr.testing.assert_identical(open_run(url)[path].to_dataset(), portable(open_dataset(url, path), path))
    assert not tree["runs"].has_data


def test_it_is_a_tree_as_any_other(url: str) -> None:
    tree = open_run(url)
    assert tree["runs/ekf"] is tree["runs"]["ekf"] is tree.children["runs"].children["ekf"]
    assert tree["runs/ekf"].parent is tree["runs"]
    assert tree["runs/ekf"].root is tree
    assert tree["runs/ekf/LAI"].sizes == {"time": 5, "cell": 3}
    tree["runs/ekf"].attrs["note"] = "mine"
    assert tree["/runs"]["ekf"].attrs["note"] == "mine"
    eager = xr.DataTree.from_dict({node.path: node.to_dataset() for node in open_run(url).subtree})
    assert repr(open_run(url)).count(" LAI ") == 3
    assert open_run(url).isel(time=0).load().equals(eager.isel(time=0))
    assert pickle.loads(pickle.dumps(open_run(url))).equals(eager)  # noqa: S301 - its own
    assert open_run(url).copy(deep=True).equals(eager)
    assert not open_run(url).isel(cell=[1]).equals(eager)
    tree["runs/mine"] = days(1.0)
    assert sorted(tree["runs"].children) == ["ekf", "mine", "open_loop", "windows"]
    del tree["land"]
    assert list(tree.children) == ["runs"]


def test_with_another_xarray_it_is_filled_when_it_is_made(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = open_run(url).load()
    monkeypatch.setattr(lazy_tree, "_IS_AS_KNOWN", False)
    tree = open_run(url)
    assert type(tree) is xr.DataTree
    assert sorted(node.path for node in tree.subtree) == SHOWN
    assert tree.identical(expected)


def test_a_group_that_is_refused_leaves_the_others_readable(url: str) -> None:
    open_store(url, "a")["land"].create_array("text", shape=(3,), dtype="str", dimension_names=("cell",))  # type: ignore[union-attr]
    tree = open_run(url)
    assert float(tree["runs/ekf"]["LAI"][0, 1]) == len("runs/ekf") + 1
    for _ in range(2):  # it is no empty group afterwards
        with pytest.raises(StoreError, match=r"'land/text' holds .* only numbers are read"):
            tree["land"].to_dataset()


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_a_copy_of_the_metadata_that_is_older_is_not_used(url: str) -> None:
    for path in ("", "runs", "runs/ekf"):
        zarr.consolidate_metadata(url, path=path or None)
    write_group(open_store(url, "a"), "runs/later", days(3.0))
    assert "later" in open_run(url)["runs"].children
    assert float(open_run(url)["runs/later/LAI"][0, 0]) == 3.0
