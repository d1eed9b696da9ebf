"""The head of a run: days that lengthen it are few objects, seen by every reader, and taken into the shards in time."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from ldas.pipeline.errors import StoreError
from ldas.pipeline.store import head
from ldas.pipeline.store.arrays import (
    array_hashes,
    existing_array,
    has_group,
    open_dataset,
    open_run,
    open_store,
    read_region,
)
from ldas.pipeline.store.icechunk_store import committed, publish
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.template import ArraySpec, create_template, extend_template

FIRST, PERIOD, CELLS, WIDTH, SLOTS = 2, 9, 7, 4, 4
LAST = PERIOD + 1
BLOCKS = [Block(0, 0, 4), Block(1, 4, 7)]
SPECS = {
    "LAI": ArraySpec(("time", "cell")),
    "LAI_patch": ArraySpec(("time", "cell", "patch")),
    "sigma40": ArraySpec(("time", "overpass", "cell")),
    "quality": ArraySpec(("time", "cell"), "int8", 1),
}
SIZES = {"overpass": 2, "patch": 3}
_number = itertools.count()


@pytest.fixture(autouse=True)
def few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that is soon full."""
    monkeypatch.setattr(head, "SLOTS", SLOTS)


@pytest.fixture(params=["folder", "memory", "versions"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A new store."""
    places = {
        "folder": tmp_path / "store",
        "memory": f"memory://head-{next(_number)}",
        "versions": f"icechunk+file://{tmp_path / 'store'}",
    }
    return Location(str(places[request.param]))


def days_until(end: int) -> np.ndarray:
    return np.datetime64("2007-01-01", "s") + np.arange(end) * np.timedelta64(86400, "s")


def values(start: int, stop: int, block: Block, changed: float = 0.0) -> dict[str, np.ndarray]:
    """What is written of these days: numbers that belong to their day, row and cell alone, and one cell without any."""
    found = {}
    for name, spec in SPECS.items():
        shape = [stop - start, *(block.cells if dim == "cell" else SIZES[dim] for dim in spec.dims[1:])]
        axes = np.meshgrid(*(np.arange(size, dtype=float) for size in shape), indexing="ij")
        cell = axes[spec.dims.index("cell")] + block.start
        numbers = (axes[0] + start) * 3 + cell + sum(axes[1:]) * 0.25 + changed
        found[name] = numbers.astype("int8") if name == "quality" else np.where(cell == 2, np.nan, numbers)
    return found


def make(location: Location, end: int) -> None:
    with committed(location, "made"):
        root = open_store(location, "a")
        axes = {dim: ((dim,), np.arange(size)) for dim, size in {"cell": CELLS, **SIZES}.items()}
        create_template(
            root,
            "runs/x",
            SPECS,
            coordinates={"time": (("time",), days_until(end)), **axes},
            chunks={"time": PERIOD, "cell": 2},
            shards={"time": PERIOD, "cell": WIDTH},
        )
        for block in BLOCKS:
            for start in range(0, end, PERIOD):
                write(root, start, min(start + PERIOD, end), block)
    publish(location)


def write(root: zarr.Group, start: int, stop: int, block: Block, changed: float = 0.0) -> None:
    head.write_days(root, "runs/x", values(start, stop, block, changed), block, slice(start, stop), per_period=PERIOD)


def lengthen(location: Location, start: int, stop: int) -> None:
    with committed(location, "longer"):
        root = open_store(location, "a")
        extend_template(root, "runs/x", "time", days_until(stop))
        head.make_head(root, "runs/x")
        for block in BLOCKS:
            write(root, start, stop, block)
    publish(location)


def held(location: Location, block: Block) -> int:
    """Number of the days of a block in the head."""
    array = existing_array(open_store(location), head.head_path("runs/x"), head.DAYS)
    return int(np.isfinite(np.asarray(array[:, 0, block.start])).sum())


def test_days_one_by_one_are_what_one_run_writes(location: Location, tmp_path: Path) -> None:
    """Whoever reads, after each day; the head is taken in when it is full, and at the end of the period."""
    whole = Location(str(tmp_path / "whole"))
    make(location, FIRST)
    counts = []
    for day in range(FIRST, LAST):
        lengthen(location, day, day + 1)
        counts.append(held(location, BLOCKS[1]))
        if day in (FIRST + 1, PERIOD - 2, LAST - 1):
            make(whole, day + 1)
            assert array_hashes(location, "runs") == array_hashes(whole, "runs")
            expected = open_dataset(whole, "runs/x").load()
            assert open_dataset(location, "runs/x").load().equals(expected)
            assert open_run(location)["runs/x"].to_dataset().load().drop_attrs().equals(expected.drop_attrs())
            last = {"time": slice(day, day + 1), "cell": slice(4, 7)}
            np.testing.assert_array_equal(
                read_region(open_store(location), "runs/x", "sigma40", last), values(day, day + 1, BLOCKS[1])["sigma40"]
            )
    assert counts == [1, 2, 3, 4, 0, 1, 0, 0]
    assert not any(name.startswith("heads") for name in array_hashes(location))
    assert "/heads" not in open_run(location, everything=True).groups


def test_cells_computed_again_keep_the_days_of_the_others(location: Location) -> None:
    make(location, FIRST)
    for day in range(FIRST, FIRST + 2):
        lengthen(location, day, day + 1)
    stop, block = FIRST + 2, Block(0, 0, 4, chosen=(1,))
    with committed(location, "again"):
        write(open_store(location, "a"), 0, stop, block, changed=0.5)
    publish(location)
    found = read_region(open_store(location), "runs/x", "LAI")
    again, before = values(0, stop, BLOCKS[0], 0.5)["LAI"], values(0, stop, BLOCKS[0])["LAI"]
    np.testing.assert_array_equal(found[:, 1], again[:, 1].astype("float32"))
    np.testing.assert_array_equal(found[:, [0, 2, 3]], before[:, [0, 2, 3]].astype("float32"))
    assert (held(location, BLOCKS[0]), held(location, BLOCKS[1])) == (0, 2)


def test_an_earlier_period_computed_again_keeps_the_days_of_the_latest_one(tmp_path: Path) -> None:
    """Those in the head are of another period, which has shards of its own."""
    location, end, changed = Location(str(tmp_path / "store")), PERIOD + FIRST, Block(0, 0, 4, chosen=(1,))
    make(location, end)
    lengthen(location, end, end + 1)
    for stage, (start, stop) in enumerate([(0, PERIOD), (PERIOD, end + 1)]):
        write(open_store(location, "a"), start, stop, changed, changed=0.5)
        found = read_region(open_store(location), "runs/x", "LAI")
        again, before = (values(0, end + 1, BLOCKS[0], by)["LAI"].astype("float32") for by in (0.5, 0.0))
        np.testing.assert_array_equal(found[:, [0, 2, 3]], before[:, [0, 2, 3]])
        np.testing.assert_array_equal(found[start:stop, 1], again[start:stop, 1])
        assert held(location, BLOCKS[0]) == 1 - stage


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in:zarr.errors.ZarrUserWarning")
def test_a_head_or_state_that_another_program_made(tmp_path: Path) -> None:
    """Codecs with code of their own are not run, and rows that nobody knows not guessed."""
    location = Location(str(tmp_path / "store"))
    make(location, FIRST)
    root, codec = open_store(location, "a"), zarr.codecs.numcodecs.Zlib()
    root.create_array("restarts/x/20070101T00/state", shape=(7, 3, 2), dtype="f8", compressors=codec)
    root.create_array("heads/runs/x/days", shape=(4, 9, 7), dtype="f4", compressors=codec)
    for path, name in (("runs/x", "LAI"), ("restarts/x/20070101T00", "leaf_area_index")):
        with pytest.raises(StoreError, match=r"codecs numcodecs\.zlib, which ldas does not run"):
            read_region(root, path, name)
        with pytest.raises(StoreError, match=r"codecs numcodecs\.zlib, which ldas does not run"):
            open_dataset(location, path)
    root.create_array("restarts/x/20070101T00/state", shape=(7, 3, 2), dtype="f8", overwrite=True)
    root.create_array("heads/runs/x/days", shape=(4, 9, 7), dtype="f4", overwrite=True)
    for path, name, attribute in (("runs/x", "LAI", "rows"), ("restarts/x/20070101T00", "leaf_area_index", "fields")):
        with pytest.raises(StoreError, match=f"attribute '{attribute}'.*the store was changed or damaged"):
            read_region(root, path, name)


def test_killed_before_the_head_was_emptied(tmp_path: Path) -> None:
    """What is in the shards and in the head too is seen once, and the next days come as they should."""
    location = Location(str(tmp_path / "store"))
    make(location, FIRST)
    for day in range(FIRST, FIRST + 3):
        lengthen(location, day, day + 1)
    objects = tmp_path / "store" / "heads" / "runs" / "x" / "days" / "c"
    shutil.copytree(objects, tmp_path / "kept")
    lengthen(location, FIRST + 3, FIRST + 3 + 2)  # more than there is place for
    assert held(location, BLOCKS[0]) == 0
    shutil.rmtree(objects)
    shutil.copytree(tmp_path / "kept", objects)
    for block in BLOCKS:
        write(open_store(location, "a"), FIRST + 3, FIRST + 3 + 2, block)
    make(whole := Location(str(tmp_path / "whole")), FIRST + 3 + 2)
    assert array_hashes(location, "runs") == array_hashes(whole, "runs")
    lengthen(location, FIRST + 3 + 2, PERIOD)
    make(whole, PERIOD)
    assert array_hashes(location, "runs") == array_hashes(whole, "runs")
    assert held(location, BLOCKS[0]) == 0


def test_numbers_that_single_precision_does_not_hold_have_no_head(tmp_path: Path) -> None:
    root = open_store(str(tmp_path / "store"), "a")
    axes = {"time": (("time",), days_until(2)), "cell": (("cell",), np.arange(2))}
    create_template(
        root, "runs/x", {"LAI": ArraySpec(("time", "cell"), "float64")}, coordinates=axes, chunks={"time": 9}
    )
    head.make_head(root, "runs/x")
    assert not has_group(root, "heads")
