"""From configuration to store: written, appended, refused; large data out of core; nothing half-written left behind."""

import itertools
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from ldas.pipeline import registry
from ldas.pipeline.errors import ConfigurationError, IngestError, StoreError
from ldas.pipeline.ingest import era5, forcing_fields, rechunk, run_ingest, source_names, write
from ldas.pipeline.ingest.config import CellsConfig, GapPolicy, Period
from ldas.pipeline.ingest.grid import Cells
from ldas.pipeline.ingest.write import Origin
from ldas.pipeline.store import groups
from ldas.pipeline.store.arrays import array_hashes, existing_group, has_group, open_dataset, open_store
from ldas.pipeline.store.location import Location
from tests.pipeline.ingest import samples
from tests.support import shared

POINTS = {"points": [[44.625, -0.9], [44.3, -0.125]]}


def era5_files(folder: Path, count: int = 30) -> Path:
    path = folder / "era5.nc"
    samples.era5_dataset(times=samples.hours("2015-03-01T00:00", count)).to_netcdf(path)
    return path


def era5_config(folder: Path, name: str = "era5.yaml", **content: Any) -> Path:
    settings = {"files": ["era5.nc"], "store": {"url": "store.zarr"}, "cells": POINTS, **content}
    return samples.write_config(folder / name, **settings)


def test_era5_into_a_store_with_provenance(tmp_path):
    era5_files(tmp_path)
    (done,) = run_ingest("era5", era5_config(tmp_path))
    assert "wrote forcing" in str(done)
    assert done.sizes == {"time": 30, "cell": 2}
    forcing = open_dataset(tmp_path / "store.zarr", "forcing")
    assert set(registry.names("forcing")) <= set(map(str, forcing.data_vars))
    assert forcing["Tair"].dtype == np.float32
    np.testing.assert_array_equal(forcing["latitude"], [44.625, 44.3])
    record = forcing.attrs["ingests"][0]
    assert record["command"] == "ldas ingest era5 --config era5.yaml"
    assert record["inputs"]["era5.nc"].startswith("sha256:")
    assert record["readers"]["netcdf4"]
    assert (record["first"], record["last"]) == ("2015-03-01T00:00 UTC", "2015-03-02T05:00 UTC")
    assert forcing.attrs["provenance"]["configuration"]["interpolation"] == "bilinear"


def test_the_forcing_of_a_forecast_has_a_group_of_its_own(tmp_path):
    era5_files(tmp_path)
    group = "forecast_forcing/ecmwf/20150301T01"
    for name in ("forcing", group):
        run_ingest("era5", era5_config(tmp_path, group=name))
    store = Location(str(tmp_path / "store.zarr"))
    usual, found = (array_hashes(store, name) for name in ("forcing", group))
    assert {name.removeprefix(group): value for name, value in found.items()} == {
        name.removeprefix("forcing"): value for name, value in usual.items()
    }
    with pytest.raises(ConfigurationError, match="group"):
        run_ingest("era5", era5_config(tmp_path, group="runs/20150301T01"))


def test_a_second_ingest_appends_or_is_refused(tmp_path):
    era5_files(tmp_path, 60)
    first = era5_config(tmp_path, period={"start": "2015-03-01T00:00", "end": "2015-03-01T23:00"})
    run_ingest("era5", first)
    before = array_hashes(tmp_path / "store.zarr", "forcing")
    with pytest.raises(IngestError, match=r"group 'forcing' of .* already exists; `append: true` adds later times"):
        run_ingest("era5", first)
    with pytest.raises(
        IngestError, match=r"ends at 2015-03-01T23:00 UTC.*they overlap; set period.start to 2015-03-02T00:00"
    ):
        run_ingest("era5", era5_config(tmp_path, append=True))
    hole = era5_config(tmp_path, append=True, period={"start": "2015-03-02T02:00"})
    with pytest.raises(IngestError, match="they leave a hole"):
        run_ingest("era5", hole)
    elsewhere = era5_config(
        tmp_path, append=True, period={"start": "2015-03-02T00:00"}, cells={"points": [[44.5, -0.5], [44.3, -0.125]]}
    )
    with pytest.raises(StoreError, match="coordinate 'latitude'"):
        run_ingest("era5", elsewhere)
    assert array_hashes(tmp_path / "store.zarr", "forcing") == before
    (done,) = run_ingest("era5", era5_config(tmp_path, append=True, period={"start": "2015-03-02T00:00"}))
    assert done.appended
    joined = open_dataset(tmp_path / "store.zarr", "forcing").load()
    assert joined.sizes["time"] == 60
    assert len(joined.attrs["ingests"]) == 2
    run_ingest("era5", era5_config(tmp_path, "whole.yaml", store={"url": "whole.zarr"}))
    whole = open_dataset(tmp_path / "whole.zarr", "forcing").load()
    for name in registry.names("forcing"):
        np.testing.assert_array_equal(joined[name], whole[name])


def test_an_append_must_be_made_as_what_is_stored(tmp_path):
    era5_files(tmp_path, 60)
    run_ingest("era5", era5_config(tmp_path, period={"end": "2015-03-01T23:00"}))
    later = {"append": True, "period": {"start": "2015-03-02T00:00"}}
    with pytest.raises(
        IngestError, match=r"forcing of .* was made in another way \(interpolation 'bilinear' there, 'nearest' now\)"
    ):
        run_ingest("era5", era5_config(tmp_path, **later, interpolation="nearest"))
    (done,) = run_ingest("era5", era5_config(tmp_path, **later, gaps={"action": "fill", "hours": 2}))
    assert done.appended
    first, second = open_dataset(tmp_path / "store.zarr", "forcing").attrs["ingests"]
    assert second["configuration"]["gaps"] == {"action": "fill", "hours": 2}
    assert second["ldas"] == first["ldas"]


def test_files_of_one_name_in_several_folders_are_all_recorded(tmp_path):
    whole = samples.era5_dataset()
    for name, hours in (("first", slice(0, 10)), ("second", slice(10, None))):
        (tmp_path / name).mkdir()
        whole.isel(time=hours).to_netcdf(tmp_path / name / "era5.nc")
    run_ingest("era5", era5_config(tmp_path, files=["*/era5.nc"]))
    (record,) = open_dataset(tmp_path / "store.zarr", "forcing").attrs["ingests"]
    assert set(record["inputs"]) == {"first/era5.nc", "second/era5.nc"}


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    dataset, config = lazy_forcing(cells=2)
    location = Location(str(tmp_path / "store.zarr"))
    original, written = groups._write_variable, []

    def full(array: Any, *rest: Any) -> str:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(array.name)
        return original(array, *rest)

    monkeypatch.setattr(groups, "_write_variable", full)
    with pytest.raises(IngestError, match=r"forcing cannot be written to .*store\.zarr: .*No space left"):
        write.write_forcing(dataset, "forcing", location, config, ORIGIN)
    assert not has_group(open_store(location), "forcing")
    written.clear()
    small = xr.Dataset({"value": ("time", np.arange(3.0))}, coords={"time": samples.hours("2010-01-01", 3)})
    with pytest.raises(IngestError, match="No space left"):
        write.write_all({f"insitu/n{i}": small for i in range(4)}, location, config, ORIGIN)
    assert not any(has_group(open_store(location), f"insitu/n{i}") for i in range(4))
    monkeypatch.undo()
    write.write_forcing(dataset, "forcing", location, config, ORIGIN)
    assert open_dataset(location, "forcing").sizes["time"] == 130


@pytest.mark.long
def test_many_files_are_read_block_by_block(tmp_path, monkeypatch):
    """Five files of two days in blocks of a day: what is in memory after a block does not grow from block to block."""
    axis = {"latitude": 46.0 - 0.25 * np.arange(40), "longitude": -2.0 + 0.25 * np.arange(40)}
    every_hour = samples.hours("2015-03-01T00:00", 240)
    for start in range(0, 240, 48):
        part = samples.era5_dataset(times=every_hour[start : start + 48], **axis).astype("float32")
        part.to_netcdf(tmp_path / f"from_{start:03d}.nc")
    cells = Cells(np.repeat(axis["latitude"], 40), np.tile(axis["longitude"], 40))
    config = era5.Era5Config(files=("unused",), cells=POINTS)
    monkeypatch.setattr(forcing_fields, "block_records", lambda cells, memory: 24)
    monkeypatch.setattr(era5, "_AT_ONCE", 0)
    hours, held = [], []
    computed = write._computed

    def watched(part: xr.Dataset, source: str) -> xr.Dataset:
        if len(hours) == 2:
            tracemalloc.start()
        hours.append(part.sizes["time"])
        held.append(tracemalloc.get_traced_memory()[0])
        return computed(part, source)

    monkeypatch.setattr(write, "_computed", watched)
    dataset = era5.read(sorted(tmp_path.glob("from_*.nc")), cells, config)
    write.write_forcing(dataset, "forcing", Location(str(tmp_path / "store.zarr")), config, ORIGIN)
    tracemalloc.stop()
    assert hours == [24] * 10
    of_a_block = 8 * 9 * 24 * len(cells)
    assert held[4] > 0.5 * of_a_block  # the values of the block before
    assert max(held[5:]) - held[4] < 0.5 * of_a_block
    result = open_dataset(tmp_path / "store.zarr", "forcing")
    expected = samples.era5_values("t2m", every_hour, cells.latitude[77:78], cells.longitude[77:78])
    np.testing.assert_allclose(result["Tair"][:, 77], expected[:, 0, 0], rtol=1e-6)


def lazy_forcing(times: int = 130, cells: int = 12) -> tuple[xr.Dataset, era5.Era5Config]:
    """A forcing of random values over many cells, in chunks of time."""
    random = np.random.default_rng(1)
    low_high = {name: registry.variable(name).valid_range for name in registry.names("forcing")}
    dataset = xr.Dataset(
        {
            name: (("time", "cell"), random.uniform(low, low + 0.5 * (high - low), size=(times, cells)))
            for name, (low, high) in low_high.items()
        },
        coords={
            "time": samples.hours("2010-01-01", times),
            "latitude": ("cell", 40.0 + 0.1 * np.arange(cells)),
            "longitude": ("cell", 0.0 * np.arange(cells)),
        },
    )
    config = era5.Era5Config(
        files=("unused",),
        cells=CellsConfig(points=((0.0, 0.0),)),
        memory_mb=64,
        shards={"time": 100, "cell": 8},
        chunks={"time": 50, "cell": 4},
        gaps=GapPolicy(action="fill", hours=5),
    )
    return dataset, config


ORIGIN = Origin("test", "test", {}, {})


def test_out_of_core_gives_the_same_bytes_as_in_memory(tmp_path, monkeypatch):
    dataset, config = lazy_forcing()
    dataset["Wind"][30:33, 7] = np.nan  # a gap that the policy fills, across nothing special
    dataset["Tair"][97:102, 10] = np.nan  # and one across the border of two shards
    small, large = Location(str(tmp_path / "small.zarr")), Location(str(tmp_path / "large.zarr"))
    write.write_forcing(dataset, "forcing", small, config, ORIGIN)
    used = []
    original = rechunk.rechunk
    monkeypatch.setattr(rechunk, "rechunk", lambda *args: used.append(args) or original(*args))
    monkeypatch.setattr(forcing_fields, "block_records", lambda cells, memory: 24)
    monkeypatch.setattr(write, "SMALL_FRACTION", 0.0)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    config = config.model_copy(update={"scratch": str(scratch)})
    write.write_forcing(dataset.chunk({"time": 24}), "forcing", large, config, ORIGIN)
    assert used
    assert not zarr.config.get("array.write_empty_chunks")  # which cubed sets for all that the process writes later
    assert array_hashes(small, "forcing") == array_hashes(large, "forcing")
    assert not np.isnan(open_dataset(large, "forcing")["Tair"].to_numpy()).any()
    assert not any(scratch.iterdir())


@pytest.mark.parametrize("chunk", [1, 7, 24, 50, 130, None])
@pytest.mark.parametrize("block", [1, 24, 60, 1000])
def test_blocks_cover_all_records_once(chunk, block):
    dataset, _ = lazy_forcing(cells=1)
    part = dataset[["Tair"]] if chunk is None else dataset[["Tair"]].chunk({"time": chunk})
    blocks = list(write._blocks(part, block))
    assert blocks[0][0] == 0
    assert blocks[-1][1] == 130
    assert all(a[1] == b[0] for a, b in itertools.pairwise(blocks))
    assert all(stop > start for start, stop in blocks)
    if chunk is not None and chunk <= block:
        assert max(stop - start for start, stop in blocks) <= block
        assert all(stop % chunk == 0 or stop == 130 for _, stop in blocks)


def test_bad_values_are_named_and_nothing_is_written(tmp_path):
    dataset, config = lazy_forcing()
    spoiled = dataset.copy(deep=True)
    spoiled["PSurf"][100, 3] = 950.0
    location = Location(str(tmp_path / "store.zarr"))
    with pytest.raises(IngestError, match=r"PSurf = 950 Pa at time 2010-01-05T04:00 UTC, cell 3 .*hPa.*out_of_range"):
        write.write_forcing(spoiled, "forcing", location, config, ORIGIN)
    assert not (tmp_path / "store.zarr").exists() or not has_group(open_store(location), "forcing")
    lenient = config.model_copy(update={"out_of_range": "missing"})
    write.write_forcing(spoiled, "forcing", location, lenient, ORIGIN)
    filled = open_dataset(location, "forcing")["PSurf"].to_numpy()[:, 3]
    expected = 0.5 * (dataset["PSurf"].to_numpy()[99, 3] + dataset["PSurf"].to_numpy()[101, 3])
    assert filled[100] == pytest.approx(expected, rel=1e-6)


def test_a_file_that_breaks_while_it_is_read_leaves_the_store_as_it_was(tmp_path):
    dataset, config = lazy_forcing()
    location = Location(str(tmp_path / "store.zarr"))
    write.write_forcing(dataset.isel(time=slice(0, 120)), "forcing", location, config, ORIGIN)
    before = array_hashes(location, "forcing")

    def broken(block: np.ndarray) -> np.ndarray:
        raise OSError("NetCDF: HDF error")

    later = dataset.isel(time=slice(120, None)).chunk({"time": 60})
    later["Qair"] = (later["Qair"].dims, later["Qair"].data.map_blocks(broken, dtype=float), later["Qair"].attrs)
    more = config.model_copy(update={"append": True})
    with pytest.raises(IngestError, match=r"cannot be read between 2010-01-06T00:00 UTC and .*: NetCDF: HDF error"):
        write.write_forcing(later, "forcing", location, more, ORIGIN)
    assert array_hashes(location, "forcing") == before
    assert open_dataset(location, "forcing").sizes["time"] == 120


def test_an_unfinished_group_is_replaced(tmp_path):
    dataset, config = lazy_forcing(cells=2)
    location = Location(str(tmp_path / "store.zarr"))
    write.write_forcing(dataset, "forcing", location, config, ORIGIN)
    before = array_hashes(location, "forcing")
    existing_group(open_store(location, "a"), "forcing").attrs["complete"] = False
    for append in (True, False):
        done = write.write_forcing(dataset, "forcing", location, config.model_copy(update={"append": append}), ORIGIN)
        assert not done.appended
        assert array_hashes(location, "forcing") == before
        existing_group(open_store(location, "a"), "forcing").attrs["complete"] = False


def test_several_groups_are_all_checked_before_the_first_is_written(tmp_path):
    table = "TIMESTAMP,LE_F_MDS,LAI\n2010-01-01,40,1.5\n2010-01-02,50,1.6\n"
    (tmp_path / "table.csv").write_text(table)
    content = {
        "store": {"url": "store.zarr"},
        "place": {"latitude": 44.0, "longitude": 1.0},
        "code": "XX-Own",
        "files": ["table.csv"],
    }
    run_ingest("tower", samples.write_config(tmp_path / "a.yaml", **content, network="first"))
    with pytest.raises(IngestError, match=r"'observations/lai' of .* already exists"):
        run_ingest("tower", samples.write_config(tmp_path / "b.yaml", **content, network="second"))
    assert not has_group(open_store(tmp_path / "store.zarr"), "insitu/second")


def test_cells_with_gaps_can_be_left_out(tmp_path):
    dataset, config = lazy_forcing(cells=3)
    dataset["Tair"][5, 1] = np.nan
    location = Location(str(tmp_path / "store.zarr"))
    chosen = config.model_copy(update={"gaps": GapPolicy(action="exclude_cell")})
    done = write.write_forcing(dataset, "forcing", location, chosen, ORIGIN)
    np.testing.assert_allclose(open_dataset(location, "forcing")["latitude"], [40.0, 40.2])
    assert "1 cells excluded for missing values: cell 1 (40.1N 0E)" in str(done)


def test_shards_that_are_no_multiples_of_chunks_are_refused(tmp_path):
    dataset, config = lazy_forcing(cells=3)
    odd = config.model_copy(update={"shards": {"time": 100}, "chunks": {"time": 30}})
    with pytest.raises(IngestError, match="shards of 100 along time are not a multiple of chunks of 30"):
        write.write_forcing(dataset, "forcing", Location(str(tmp_path / "store.zarr")), odd, ORIGIN)


def test_forcing_must_have_the_cells_of_land(tmp_path):
    location = Location(str(tmp_path / "store.zarr"))
    dataset, config = lazy_forcing(cells=3)
    other = Cells(np.array([40.0, 41.0, 42.0]), np.zeros(3))
    write.write(
        xr.Dataset({"clay": ("cell", [0.1, 0.2, 0.3])}, coords=other.coordinates()), "land", location, config, ORIGIN
    )
    with pytest.raises(IngestError, match=r"its 3 cells are not the 3 cells of group 'land'.*from_group: land"):
        write.write_forcing(dataset, "forcing", location, config, ORIGIN)


def test_cells_of_a_group_of_the_store(tmp_path):
    era5_files(tmp_path)
    with pytest.raises(IngestError, match="no group 'land'"):
        run_ingest("era5", era5_config(tmp_path, cells={"from_group": "land"}))
    cells = Cells(np.array([44.5, 44.3]), np.array([-0.5, -0.125]))
    config = era5.Era5Config(files=("unused",), cells=CellsConfig(from_group="land"))
    land = xr.Dataset({"clay": ("cell", [0.1, 0.2])}, coords=cells.coordinates())
    write.write(land, "land", Location(str(tmp_path / "store.zarr")), config, ORIGIN)
    run_ingest("era5", era5_config(tmp_path, cells={"from_group": "land"}))
    np.testing.assert_array_equal(open_dataset(tmp_path / "store.zarr", "forcing")["latitude"], [44.5, 44.3])


def test_configuration_mistakes_are_named(tmp_path):
    with pytest.raises(IngestError, match="unknown source 'era'; did you mean era5"):
        run_ingest("era", tmp_path / "x.yaml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        run_ingest("era5", tmp_path / "absent.yaml")
    with pytest.raises(ConfigurationError, match="interpolaton: unknown key; did you mean 'interpolation'"):
        run_ingest("era5", era5_config(tmp_path, interpolaton="bilinear"))
    with pytest.raises(IngestError, match="no `store` is given"):
        run_ingest("era5", samples.write_config(tmp_path / "c.yaml", files=["era5.nc"], cells=POINTS))
    with pytest.raises(ValueError, match="before start"):
        Period(start="2015-01-02", end="2015-01-01")
    assert {"era5", "arco", "alma", "daily", "ascat", "cgls", "modis", "ismn", "land"} <= set(source_names())


def test_rechunk_needs_room_and_memory(tmp_path):
    with pytest.raises(IngestError, match="GB free"):
        rechunk.check_space(tmp_path, 10**18)
    with pytest.raises(IngestError, match="no scratch folder"), rechunk.scratch_folder(str(tmp_path / "absent")):
        pass
    array = rechunk.create_time_major(tmp_path, "Tair", (40, 1_000_000), 20)
    array[:1] = 1.0
    with pytest.raises(IngestError, match=r"Tair: chunks .* cannot be made with memory_mb 64"):
        rechunk.rechunk({"Tair": tmp_path / "Tair"}, (40, 1_000_000), tmp_path, 64)


def test_the_scratch_folder_goes_even_when_the_work_fails(tmp_path):
    def work() -> None:
        with rechunk.scratch_folder(str(tmp_path)) as folder:
            (folder / "data").write_text("x")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        work()
    assert os.listdir(tmp_path) == []


def test_the_daily_record_of_puechabon_into_a_store(tmp_path):
    table = shared("data/site_flux/FLX_FR-Pue_FLUXDATAKIT_FULLSET_DD_2000_2014_2-3.csv")
    config = samples.write_config(
        tmp_path / "daily.yaml",
        files=[str(table)],
        store={"url": "store.zarr"},
        place={"latitude": 43.7414, "longitude": 3.5958, "utc_offset_h": 1},
        options={"temperature_cycle": "radiation"},
        period={"start": "2007-01-01T00:00", "end": "2009-01-01T00:00"},
    )
    (done,) = run_ingest("daily", config)
    assert done.sizes == {"time": 24 * 731 + 1, "cell": 1}
    from ldas.pipeline.forcing.check import forcing_problems

    assert forcing_problems(open_dataset(tmp_path / "store.zarr", "forcing").load()) == []


def test_an_experiment_gives_its_own_store(tmp_path):
    era5_files(tmp_path)
    config = samples.write_config(tmp_path / "c.yaml", files=["era5.nc"], cells=POINTS)
    run_ingest("era5", config, Location(str(tmp_path / "mine.zarr")))
    assert has_group(open_store(tmp_path / "mine.zarr"), "forcing")


def test_the_rechunk_benchmark_runs_and_its_values_agree(tmp_path):
    """Small here; `benchmarks/rechunk.py` prints the figures of docs/ingestion.md."""
    import importlib.util
    import sys

    from tests.support import REPOSITORY

    spec = importlib.util.spec_from_file_location("rechunk_benchmark", REPOSITORY / "benchmarks" / "rechunk.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rechunk_benchmark"] = module  # the process that it starts looks its function up by this name
    spec.loader.exec_module(module)
    module.multiprocessing = FakeContext
    figures = module.run(0.005, 64, str(tmp_path), hours=300)
    assert figures["values_agree"]
    assert figures["gigabytes"] > 0.004
    assert list(tmp_path.iterdir()) == []


class FakeContext:
    """Runs the benchmark's process in this one: a new process would not find a module that has no package."""

    @staticmethod
    def get_context(_: str) -> type["FakeContext"]:
        return FakeContext

    class Queue:
        def __init__(self) -> None:
            self.item: Any = None

        def put(self, item: Any) -> None:
            self.item = item

        def get(self) -> Any:
            return self.item

    class Process:
        def __init__(self, target: Any, args: tuple[Any, ...]) -> None:
            self.start = lambda: target(*args)

        def join(self) -> None: ...
