"""The store: whole shards only, appends that cannot hurt, hashes, nothing executable, nothing outside its root."""

import errno
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

import ldas
from ldas.pipeline.errors import StoreError
from ldas.pipeline.store import groups
from ldas.pipeline.store.arrays import (
    array_hashes,
    check_alignment,
    chunk_cells,
    decode_labels,
    existing_array,
    existing_group,
    has_group,
    open_dataset,
    open_store,
    read_region,
    write_region,
)
from ldas.pipeline.store.groups import append_group, write_group
from ldas.pipeline.store.location import Location, check_name, public_url
from ldas.pipeline.store.template import ArraySpec, create_template, extend_template
from tests.helpers.failing import FailingFileSystem, register

DAYS = np.arange("2007-01-01", "2007-01-11", dtype="datetime64[D]").astype("datetime64[s]")
_number = itertools.count()


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new store's URL."""
    return str(tmp_path / "store") if request.param == "folder" else f"memory://test-store-{next(_number)}"


def template(root: zarr.Group) -> None:
    """runs/x: ten days by seven cells, shards of five days and four cells."""
    create_template(
        root,
        "runs/x",
        {"LAI": ArraySpec(("time", "cell")), "WG2": ArraySpec(("time", "cell"))},
        coordinates={"time": (("time",), DAYS), "cell": (("cell",), np.arange(7))},
        chunks={"time": 5, "cell": 2},
        shards={"time": 5, "cell": 4},
    )


def test_an_array_of_a_template_is_described_as_zarr_does(tmp_path: Path) -> None:
    """The same bytes, with shards and without, of every kind of number."""
    root = open_store(str(tmp_path / "store"), "a")
    attributes = {"units": "m", "scale": 0.5, "nothing": float("nan"), "names": ["a", "b"]}
    specs = {
        f"{dtype}_{fill}": ArraySpec(("time", "cell"), dtype, fill, attributes)
        for dtype, fill in (("float32", None), ("float64", 0.0), ("int8", -1), ("int64", None), ("bool", None))
    }
    axes = {"time": (("time",), DAYS), "cell": (("cell",), np.arange(7))}
    for shards in (None, {"time": 5, "cell": 4}):
        create_template(root, "runs/x", specs, coordinates=axes, chunks={"time": 5, "cell": 2}, shards=shards)
        for name, spec in specs.items():
            root["runs/x"].create_array(
                "by_zarr", shape=(10, 7), dtype=spec.dtype, chunks=(5, 2), shards=(5, 4) if shards else None,
                fill_value=(np.nan if spec.dtype == "float32" else 0) if spec.fill_value is None else spec.fill_value,
                dimension_names=spec.dims, attributes=attributes, overwrite=True,
            )  # fmt: skip
            made, by_zarr = (tmp_path / "store" / "runs" / "x" / n / "zarr.json" for n in (name, "by_zarr"))
            assert made.read_bytes() == by_zarr.read_bytes()


def test_regions_of_whole_shards_come_back(url: str) -> None:
    root = open_store(url, "a")
    template(root)
    values = np.arange(70.0).reshape(10, 7)
    for time, cell in itertools.product((slice(0, 5), slice(5, 10)), (slice(0, 4), slice(4, 7))):
        write_region(root, "runs/x", {"LAI": values[time, cell]}, {"time": time, "cell": cell})
    np.testing.assert_array_equal(read_region(open_store(url), "runs/x", "LAI"), values)
    assert np.isnan(read_region(root, "runs/x", "WG2")).all()
    np.testing.assert_array_equal(read_region(root, "runs/x", "time"), DAYS)


@pytest.mark.parametrize(
    "region",
    [
        {"time": slice(0, 5), "cell": slice(0, 2)},
        {"time": slice(0, 3), "cell": slice(0, 4)},
        {"time": slice(2, 10)},
        {"cell": slice(0, 6)},
        {"cell": slice(4, 8)},
        {"cell": slice(4, 4)},
        {"time": slice(0, 10, 2)},
    ],
)
def test_partial_shards_are_refused_before_a_byte_is_written(url: str, region: dict[str, slice]) -> None:
    root = open_store(url, "a")
    template(root)
    before = array_hashes(url)
    shape = [len(range(*region.get(dim, slice(None)).indices(n))) for dim, n in (("time", 10), ("cell", 7))]
    with pytest.raises(StoreError, match="two writers would each read, change and write back the same shard"):
        write_region(root, "runs/x", {"LAI": np.ones(shape)}, region)
    assert array_hashes(url) == before


@given(start=st.integers(0, 7), stop=st.integers(0, 8))
def test_a_region_is_accepted_exactly_when_no_shard_is_cut(start: int, stop: int) -> None:
    root = zarr.open_group(zarr.storage.MemoryStore(), mode="w", zarr_format=3)
    template(root)
    array = existing_array(root, "runs/x", "LAI")
    whole = start < stop <= 7 and start in (0, 4) and stop in (4, 7)
    try:
        check_alignment(array, {"cell": slice(start, stop)})
        accepted = True
    except StoreError:
        accepted = False
    assert accepted == whole


def test_all_arrays_are_checked_before_the_first_is_written(url: str) -> None:
    root = open_store(url, "a")
    template(root)
    before = array_hashes(url)
    for bad in (np.ones((10, 6)), np.array([["a"] * 7] * 10), np.ones((10, 7), dtype="complex128")):
        with pytest.raises(StoreError):
            write_region(root, "runs/x", {"LAI": np.ones((10, 7)), "WG2": bad}, {})
    with pytest.raises(StoreError, match=r"no variable 'LIA'.*LAI"):
        write_region(root, "runs/x", {"LAI": np.ones((10, 7)), "LIA": np.ones((10, 7))}, {})
    assert array_hashes(url) == before


def test_what_a_kill_left_half_written_is_no_part_of_the_store(tmp_path: Path) -> None:
    """Zarr writes `zarr.json` under a name of its own before it renames it."""
    root = open_store(tmp_path / "store", "a")
    write_group(root, "insitu/x", insitu(0, 3))
    before = array_hashes(str(tmp_path / "store"))
    for folder in ("", "insitu", "insitu/x", "insitu/x/time"):
        (tmp_path / "store" / folder / "zarr.e4b176d638c047f6a6a48e6c9761829b.partial").write_bytes(b'{"zarr_')
    assert array_hashes(str(tmp_path / "store")) == before
    assert ldas.open_run(tmp_path / "store")["insitu/x"].sizes["time"] == 3


def test_the_objects_do_not_depend_on_a_setting_of_the_process(tmp_path: Path) -> None:
    """NaN of either sign is no object, where the default of Zarr was changed too: 0 / 0 has the other sign."""
    found = []
    for empty in (False, True):
        store = tmp_path / str(empty)
        with zarr.config.set({"array.write_empty_chunks": empty}):
            root = open_store(str(store), "a")
            template(root)
            write_region(root, "runs/x", {"LAI": np.full((5, 4), -np.nan)}, {"time": slice(5), "cell": slice(4)})
        found.append({path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()})
        assert not np.signbit(read_region(root, "runs/x", "LAI")).any()
    assert found[0] == found[1]


def test_one_changed_value_changes_one_hash_whatever_the_chunks(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((10, 7)).astype("float32")
    found = []
    for number, cells in enumerate((4, 7, 1)):
        root = open_store(str(tmp_path / str(number)), "a")
        create_template(
            root,
            "x",
            {"LAI": ArraySpec(("time", "cell"))},
            coordinates={"time": (("time",), DAYS), "cell": (("cell",), np.arange(7))},
            chunks={"time": 5, "cell": cells},
        )
        write_region(root, "x", {"LAI": values}, {})
        found.append(array_hashes(root))
    assert found[0] == found[1] == found[2]
    changed = values.copy()
    changed[9, 6] = np.nextafter(changed[9, 6], np.float32(2.0))
    write_region(root, "x", {"LAI": changed}, {})
    after = array_hashes(root)
    assert {name for name in after if after[name] != found[0][name]} == {"x/LAI"}


def test_extension_keeps_what_is_there_and_can_be_done_again(url: str) -> None:
    root = open_store(url, "a")
    template(root)
    values = np.arange(70.0).reshape(10, 7)
    write_region(root, "runs/x", {"LAI": values}, {})
    longer = np.arange("2007-01-01", "2007-01-18", dtype="datetime64[D]").astype("datetime64[s]")
    extend_template(root, "runs/x", "time", longer)
    existing_array(root, "runs/x", "time")[12:] = np.iinfo("int64").min  # interrupted before the times were written
    extend_template(root, "runs/x", "time", longer)
    np.testing.assert_array_equal(read_region(root, "runs/x", "time"), longer)
    np.testing.assert_array_equal(read_region(root, "runs/x", "LAI")[:10], values)
    assert np.isnan(read_region(root, "runs/x", "LAI")[10:]).all()
    with pytest.raises(StoreError, match="does not begin with the stored one"):
        extend_template(root, "runs/x", "time", longer + np.timedelta64(1, "D"))
    with pytest.raises(StoreError, match="does not begin with the stored one"):
        extend_template(root, "runs/x", "time", longer[:5])


def insitu(first: int, days: int, stations: int = 3) -> xr.Dataset:
    """A dataset such as ingestion makes."""
    rng = np.random.default_rng(first)
    return xr.Dataset(
        {
            "soil_moisture": (("time", "station"), rng.random((days, stations)).astype("float32")),
            "code": ("station", ["SBR", "Le Pin", "CRD"][:stations]),
        },
        coords={
            "time": DAYS[0] + (first + np.arange(days)) * np.timedelta64(1, "D"),
            "latitude": ("station", np.array([44.1, 43.6, 43.9])[:stations]),
        },
    )


def test_written_and_appended_groups(url: str) -> None:
    root = open_store(url, "a")
    first, second = insitu(0, 10), insitu(10, 5).drop_vars("code")
    write_group(root, "insitu/x", first, chunks={"time": 4}, attributes={"source": "test"})
    checksum = existing_array(root, "insitu/x", "soil_moisture").attrs["sha256"]
    append_group(root, "insitu/x", second)
    found = open_dataset(url, "insitu/x")
    expected = np.concatenate([first.soil_moisture, second.soil_moisture])
    np.testing.assert_array_equal(found.soil_moisture.values, expected)
    assert list(decode_labels(found.code)) == ["SBR", "Le Pin", "CRD"]
    assert found.code.attrs["flag_meanings"] == "SBR Le_Pin CRD"
    assert found.soil_moisture.attrs["units"] == "m3 m-3"
    assert found.attrs["source"] == "test"
    assert existing_array(root, "insitu/x", "soil_moisture").attrs["sha256"] != checksum


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        (insitu(9, 3).drop_vars("code"), "only later data can be appended"),
        (insitu(0, 10).drop_vars("code"), "only later data can be appended"),
        (insitu(10, 3).drop_vars(["code", "soil_moisture"]), r"holds \['soil_moisture'\]"),
        (insitu(10, 3).drop_vars("code").assign_coords(latitude=("station", [1.0, 2.0, 3.0])), "'latitude'.*differs"),
    ],
)
def test_appends_that_would_mix_are_refused(url: str, new: xr.Dataset, problem: str) -> None:
    root = open_store(url, "a")
    write_group(root, "insitu/x", insitu(0, 10), chunks={"time": 4})
    before = array_hashes(url)
    with pytest.raises(StoreError, match=problem):
        append_group(root, "insitu/x", new)
    assert array_hashes(url) == before


def test_an_interrupted_append_is_not_seen_and_can_be_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = open_store(url, "a")
    write_group(root, "insitu/x", insitu(0, 10), chunks={"time": 4})
    with monkeypatch.context() as patch:
        patch.setattr(
            "ldas.pipeline.store.groups._write_variable", lambda *_: (_ for _ in ()).throw(OSError("power cut"))
        )
        with pytest.raises(OSError, match="power cut"):
            append_group(root, "insitu/x", insitu(10, 5).drop_vars("code"))
    assert open_dataset(url, "insitu/x").sizes["time"] == 10
    np.testing.assert_array_equal(open_dataset(url, "insitu/x").soil_moisture, insitu(0, 10).soil_moisture)
    append_group(root, "insitu/x", insitu(10, 5).drop_vars("code"))
    assert open_dataset(url, "insitu/x").sizes["time"] == 15
    np.testing.assert_array_equal(open_dataset(url, "insitu/x").soil_moisture[10:], insitu(10, 5).soil_moisture)


@pytest.mark.parametrize("step", ["_write_variable", "_keep_checksum"])
def test_checksums_change_with_the_commit_of_an_append(url: str, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """An append that stops at its second variable: repeated, all attributes are those of one that was not stopped."""
    whole = insitu(0, 15).assign(temperature=insitu(0, 15).soil_moisture * 2)
    root, once = open_store(url, "a"), zarr.group()
    for target in (root, once):
        write_group(target, "insitu/x", whole.isel(time=slice(0, 10)), chunks={"time": 4})
    names, new = ("soil_moisture", "temperature"), whole.isel(time=slice(10, None)).drop_vars("code")
    before = {name: existing_array(root, "insitu/x", name).attrs["sha256"] for name in names}
    original, calls = getattr(groups, step), itertools.count()

    def stops(*given: Any) -> Any:
        if next(calls) == 1:
            raise OSError("power cut")
        return original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(groups, step, stops)
        with pytest.raises(OSError, match="power cut"):
            append_group(root, "insitu/x", new)
    if step == "_write_variable":
        assert {name: existing_array(root, "insitu/x", name).attrs["sha256"] for name in names} == before
    append_group(root, "insitu/x", new)
    append_group(once, "insitu/x", new)
    for name in names:
        assert (
            existing_array(root, "insitu/x", name).attrs.asdict()
            == existing_array(once, "insitu/x", name).attrs.asdict()
        )
    assert existing_group(root, "insitu/x").attrs.asdict() == existing_group(once, "insitu/x").attrs.asdict()


def test_an_unfinished_group_is_refused_and_replaced(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = open_store(url, "a")
    with monkeypatch.context() as patch:
        patch.setattr(
            "ldas.pipeline.store.groups._write_variable", lambda *_: (_ for _ in ()).throw(OSError("disk full"))
        )
        with pytest.raises(OSError, match="disk full"):
            write_group(root, "insitu/x", insitu(0, 10))
        assert not has_group(root, "insitu/x")
        patch.setattr("ldas.pipeline.store.groups.remove_group", lambda *_: None)  # a power cut leaves what is there
        with pytest.raises(OSError, match="disk full"):
            write_group(root, "insitu/x", insitu(0, 10))
    with pytest.raises(StoreError, match="never finished"):
        open_dataset(url, "insitu/x")
    with pytest.raises(StoreError, match="never finished"):
        append_group(root, "insitu/x", insitu(10, 5))
    assert "/insitu/x" not in {node.path for node in ldas.open_run(url).subtree}
    write_group(root, "insitu/x", insitu(0, 10))
    assert open_dataset(url, "insitu/x").sizes["time"] == 10
    with pytest.raises(StoreError, match="already exists"):
        write_group(root, "insitu/x", insitu(0, 10))


def test_another_format_version_is_refused(url: str) -> None:
    open_store(url, "a").attrs["ldas_format"] = 99
    for mode in ("r", "a"):
        with pytest.raises(StoreError, match="store format 99, this version of ldas works with 1"):
            open_store(url, mode)  # type: ignore[arg-type]


def test_a_foreign_group_and_no_group_are_refused(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "foreign").create_array("x", shape=(3,), dtype="f4")
    with pytest.raises(StoreError, match="did not make"):
        open_store(str(tmp_path / "foreign"), "a")
    with pytest.raises(StoreError, match="no store at"):
        open_store(str(tmp_path / "nothing"))


def test_only_numbers_through_known_codecs_are_read(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    root = open_store(url, "a")
    with pytest.raises(StoreError, match="numbers only"):
        create_template(
            root,
            "x",
            {"a": ArraySpec(("cell",), "O")},
            coordinates={"cell": (("cell",), np.arange(2))},
            chunks={},
        )
    group = root.create_group("y")
    group.create_array("text", shape=(2,), dtype="str", dimension_names=("cell",))
    with pytest.raises(StoreError, match="only numbers are read"):
        ldas.open_run(url)["y"].load()
    with pytest.raises(StoreError, match="only numbers are read"):
        read_region(root, "y", "text")
    del group["text"]
    group.create_array("x", shape=(2,), dtype="f4", dimension_names=("cell",))
    assert read_region(root, "y", "x").shape == (2,)
    metadata = tmp_path / "store" / "y" / "x" / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"zstd"', '"pickle"'))
    with pytest.raises((StoreError, Exception), match=r"pickle"):
        read_region(open_store(url), "y", "x")


def test_a_version_2_array_with_a_pickle_codec_is_never_seen(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    open_store(url, "a").create_group("y")
    folder = tmp_path / "store" / "y" / "evil"
    folder.mkdir()
    (folder / ".zarray").write_text(
        '{"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": null, "fill_value": null, '
        '"order": "C", "filters": [{"id": "pickle", "protocol": 5}]}'
    )
    (folder / "0").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with (
        pytest.raises(StoreError, match="no variable 'evil'"),
        pytest.warns(zarr.errors.ZarrUserWarning, match="not recognized"),
    ):
        read_region(open_store(url), "y", "evil")


@pytest.mark.parametrize("name", ["../x", "..", "a/../../b", "/etc", "a b", "", ".hidden", "x/..", "ä"])
def test_names_cannot_lead_out_of_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError):
        check_name(name)
    root = open_store(str(tmp_path / "inner" / "store"), "a")
    with pytest.raises(StoreError):
        create_template(root, name, {}, coordinates={}, chunks={})
    assert {path.name for path in tmp_path.rglob("*")} == {"inner", "store", "zarr.json"}


@pytest.mark.parametrize(
    ("url", "options", "problem"),
    [
        ("s3://user:secret@host/bucket", {}, "credentials belong in the environment"),
        ("s3://bucket/x?X-Amz-Signature=abc", {}, "credentials belong in the environment"),
        ("s3://bucket/x", {"key": "a", "secret": "b"}, "key, secret are credentials"),
        ("s3://bucket/x", {"session_token": "a"}, "session_token"),
        ("simplecache::s3://bucket/x", {}, "chains file systems"),
        ("reference://x", {}, "cannot be opened through"),
        ("nonsense://x", {}, "cannot be opened through"),
    ],
)
def test_urls_that_are_refused(url: str, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(StoreError, match=problem) as caught:
        Location(url, options)
    assert "secret@" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_urls_are_shown_without_credentials() -> None:
    assert public_url("s3://user:secret@bucket/x?token=y") == "s3://bucket/x"
    assert public_url("/some/folder") == "/some/folder"


def test_a_full_store_says_so_and_what_was_complete_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    root = open_store("failing://store", "a")
    template(root)
    write_region(root, "runs/x", {"LAI": np.ones((10, 7))}, {})
    before = array_hashes("failing://store")
    monkeypatch.setattr(FailingFileSystem, "write_error", (errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        write_region(root, "runs/x", {"LAI": np.zeros((10, 7))}, {})
    assert array_hashes("failing://store") == before


def test_requests_that_fail_now_and_then_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldas.pipeline.store.retry.FIRST_WAIT_S", 0.001)
    register()
    monkeypatch.setattr(FailingFileSystem, "failing_share", 0.1)
    failures = FailingFileSystem.failures
    root = open_store("failing://flaky", "a")
    template(root)
    for time in (slice(0, 5), slice(5, 10)):
        write_region(root, "runs/x", {"LAI": np.full((5, 7), 3.0), "WG2": np.full((5, 7), 4.0)}, {"time": time})
    found = ldas.open_run("failing://flaky")["runs/x"].to_dataset().load()
    assert (found.LAI == 3.0).all()
    assert (found.WG2 == 4.0).all()
    assert FailingFileSystem.failures > failures


def test_errors_that_stay_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldas.pipeline.store.retry.FIRST_WAIT_S", 0.001)
    register()
    root = open_store("failing://down", "a")
    template(root)
    monkeypatch.setattr(FailingFileSystem, "write_error", (errno.EBUSY, "503 Slow Down"))
    with pytest.raises(OSError, match="Slow Down"):
        write_region(root, "runs/x", {"LAI": np.ones((10, 7))}, {})


@pytest.mark.parametrize("cells", [1, 7, 16, 17, 20, 62, 63, 64, 250])
def test_any_number_of_cells_makes_a_shard(tmp_path: Path, cells: int) -> None:
    root = open_store(tmp_path / "store", "a")
    create_template(
        root,
        "runs/small",
        {"LAI": ArraySpec(("time", "cell"))},
        coordinates={"time": (("time",), np.arange(3)), "cell": (("cell",), np.arange(100))},
        chunks={"time": 3, "cell": chunk_cells(cells, 3)},
        shards={"time": 3, "cell": cells},
    )
    block = {"cell": slice(0, min(cells, 100))}
    write_region(root, "runs/small", {"LAI": np.ones((3, min(cells, 100)))}, block)
    assert (read_region(root, "runs/small", "LAI", block) == 1.0).all()


def test_chunks_of_long_series_have_few_cells() -> None:
    """A megabyte: a year of hours for some 20 cells, a year of days for the whole of a usual block."""
    assert [chunk_cells(cells, 8784) for cells in (1, 7, 61, 62, 63, 64, 250)] == [1, 7, 1, 2, 21, 16, 25]
    assert [chunk_cells(cells, 366) for cells in (1, 63, 64, 256, 1024)] == [1, 63, 64, 256, 512]
    assert chunk_cells(64, 10**7) == 1
