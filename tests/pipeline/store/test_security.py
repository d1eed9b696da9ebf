"""Files and stores from strangers are data: they cannot run code, lead out of their root or carry credentials away."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr

from ldas.pipeline.errors import ConfigurationError, StoreError
from ldas.pipeline.settings.execution import ClusterConfig
from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.settings.yaml_file import validate
from ldas.pipeline.store.arrays import array_hashes, open_dataset, open_run, open_store, read_region, write_region
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.location import Location, public_url
from ldas.pipeline.store.provenance import provenance
from tests.helpers.program import program
from tests.helpers.small_store import make_synthetic_store, synthetic_land
from tests.support import REPOSITORY

EXPERIMENT = """\
name: small
store: {url: store}
period: {start: 2007-01-01, end: 2007-01-02}
output: {mean: [LE], instant: [WG2]}
"""
SECRETS = {
    "AWS_ACCESS_KEY_ID": "HIDDEN-access-1",
    "AWS_SECRET_ACCESS_KEY": "HIDDEN-secret-2",
    "AWS_SESSION_TOKEN": "HIDDEN-session-3",
    "GOOGLE_APPLICATION_CREDENTIALS": "/HIDDEN/service-4.json",
}
NUMBERS = re.compile(r"(float|int|uint)(8|16|32|64)|bool")
CODECS = {"bytes", "zstd", "gzip", "blosc", "crc32c", "transpose", "sharding_indexed"}


@dataclass
class Run:
    """A run with its report, made while credentials were in the environment."""

    folder: Path
    said: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small synthetic run."""
    folder = tmp_path_factory.mktemp("security")
    path = folder / "experiment.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    make_synthetic_store(load_experiment(path).location, cells=1, days=2)
    with pytest.MonkeyPatch.context() as patch, (folder / "log.txt").open("w", encoding="utf-8") as log:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stderr", log)
        patch.setattr(sys, "stdout", log)
        assert program("run", str(path), "--json", str(folder / "run.json")) == 0
        assert program("report", str(folder / "store"), "--markdown", "--json", str(folder / "report.json")) == 0
    return Run(folder, (folder / "log.txt").read_text(encoding="utf-8"))


def codec_names(codecs: list[dict[str, Any]]) -> set[str]:
    """Names of codecs, inner ones too."""
    inner = [item["configuration"] for item in codecs if "configuration" in item]
    nested = [codec for item in inner for key in ("codecs", "index_codecs") for codec in item.get(key, [])]
    return {item["name"] for item in codecs} | (codec_names(nested) if nested else set())


def test_a_store_holds_numbers_only_and_nothing_pickled(run: Run) -> None:
    arrays = 0
    for path in (run.folder / "store").rglob("zarr.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["node_type"] == "array":
            arrays += 1
            assert NUMBERS.fullmatch(content["data_type"]), path
            assert codec_names(content["codecs"]) <= CODECS, path
    assert arrays > 30
    suffixes = {path.suffix for path in (run.folder / "store").rglob("*") if path.is_file()}
    assert suffixes <= {".json", ""}  # metadata and chunks, no other files


def test_a_run_and_its_report_hold_no_credentials(run: Run) -> None:
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert {"index.html", "report.md", "run.json", "report.json", "log.txt"} <= {path.name for path in files}
    assert "open_loop: done in" in run.said
    for path in files:
        content = path.read_bytes()
        assert b"HIDDEN" not in content, path


def test_a_run_and_its_report_do_not_hold_the_environment(run: Run) -> None:
    """Not even names of variables."""
    for path in (run.folder / "store").rglob("zarr.json"):
        assert "AWS_" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(
    ("url", "options", "named"),
    [
        ("s3://b/x", {"key": "HIDDEN", "secret": "HIDDEN"}, "key, secret"),
        ("s3://b/x", {"token": "HIDDEN"}, "token"),
        ("s3://b/x", {"client_kwargs": {"aws_secret_access_key": "HIDDEN"}}, "client_kwargs.aws_secret_access_key"),
        ("s3://b/x", {"endpoint_url": "http://me:HIDDEN@host:9000"}, "endpoint_url"),
        ("s3://b/x", {"endpoint_url": "http://host:9000/?signature=HIDDEN"}, "endpoint_url"),
        ("s3://b/x", {"config_kwargs": {"proxies": {"https": "http://me:HIDDEN@host"}}}, "config_kwargs.proxies.https"),
        ("abfs://c/x", {"account_name": "me", "accountKey": "HIDDEN"}, "accountKey"),
        ("abfs://c/x", {"account-key": "HIDDEN"}, "account-key"),
        ("abfs://c/x", {"connection_string": "HIDDEN"}, "connection_string"),
        ("az://c/x", {"sas_token": "HIDDEN", "client_secret": "HIDDEN"}, "client_secret, sas_token"),
        ("gs://b/x", {"token": "/home/me/HIDDEN.json"}, "token"),
        ("gs://b/x", {"token": {"private_key": "HIDDEN"}}, "token"),
        ("https://h/x", {"client_kwargs": {"headers": {"Cookie": "HIDDEN"}}}, "client_kwargs.headers.Cookie"),
        ("https://h/x", {"client_kwargs": {"auth": "HIDDEN"}}, "client_kwargs.auth"),
        ("memory://x", {"password": "HIDDEN"}, "password"),
    ],
)
def test_credentials_in_options_are_refused_and_not_repeated(url: str, options: dict[str, Any], named: str) -> None:
    with pytest.raises(StoreError) as caught:
        Location(url, options)
    assert f"store options {named} are credentials" in str(caught.value)
    assert "HIDDEN" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://b/x", {"anon": True, "requester_pays": True, "profile": "mine", "default_fill_cache": False}),
        ("s3://b/x", {"endpoint_url": "http://host:9000", "use_ssl": False, "use_listings_cache": False}),
        ("s3://b/x", {"client_kwargs": {"region_name": "eu-west-1", "endpoint_url": "https://host", "verify": False}}),
        ("s3://b/x", {"config_kwargs": {"s3": {"addressing_style": "path"}, "retries": {"max_attempts": 3}}}),
        ("s3://b/x", {"s3_additional_kwargs": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "an-id"}}),
        *[("gs://b/x", {"token": way, "project": "p"}) for way in ("google_default", "anon", "cloud", "cache")],
        ("gs://b/x", {"requester_pays": "project", "endpoint_url": "http://127.0.0.1:4443"}),
        ("abfs://container/path", {"account_name": "me", "anon": False}),
        ("az://container/path", {"account_name": "me", "tenant_id": "t", "client_id": "c"}),
        ("abfss://container@account.dfs.core.windows.net/path", {}),
        ("abfs://my-container@account1.blob.core.usgovcloudapi.net/path", {"account_host": "a.b.usgovcloudapi.net"}),
        ("https://host/path", {"client_kwargs": {"trust_env": True, "headers": {"User-Agent": "ldas"}}}),
        ("https://host:8443/path/store.zarr", {"block_size": 0}),
        ("memory://name", {}),
        ("file:///data/store", {"auto_mkdir": True}),
        ("icechunk+s3://b/x", {"endpoint_url": "http://host:9000", "region": "eu-west-1", "anon": True}),
    ],
)
def test_ordinary_urls_and_options_are_taken(url: str, options: dict[str, Any]) -> None:
    location = Location(url, options)
    assert public_url(location.url) == url
    assert location.options == options


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("s3://b/x", {"annon": True}, "store option annon of s3:// is not known: did you mean 'anon'? Known here: "),
        (
            "s3://b/x",
            {"client_kwargs": {"region": "x"}},
            "client_kwargs.region of s3:// is not known: did you mean 'reg",
        ),
        ("gs://b/x", {"account_name": "x"}, "Known here: access, block_size, cache_timeout, check_connection"),
        ("memory://x", {"anon": True}, "store option anon of memory:// is not known"),
        ("webdav://x", {"base_url": "x"}, "set in fsspec's own configuration"),
        ("icechunk+s3://b/x", {"default_block_size": 1}, "Known here: anon, endpoint_url, region"),
        ("s3://b/x", {"anon": [True]}, "anon of s3:// takes a single value"),
        ("s3://b/x?versionId=HIDDEN", {}, "carries versionId: that names a version of one object"),
        ("https://h/x?versionId=HIDDEN", {}, "carries versionId: that names a version of one object"),
    ],
)
def test_other_options_are_said_to_be_unknown(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(StoreError) as caught:
        Location(url, options)
    assert said in str(caught.value)
    assert "credential" not in str(caught.value)
    assert "HIDDEN" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://me:HIDDEN@bucket/x",
        "s3://HIDDEN@bucket/x",
        "https://me:HIDDEN@host/x",
        "https://host/x?X-Amz-Signature=HIDDEN",
        "https://host/x?versionId=1&sig=HIDDEN",
        "gs://b/x?GoogleAccessId=HIDDEN",
        "abfss://container:HIDDEN@account.dfs.core.windows.net/x",
        "abfss://container@account.dfs.core.windows.net/x?sv=1&sig=HIDDEN",
        "abfs://HIDDEN@host/x",
        "s3://HIDDEN@account.dfs.core.windows.net/x",
        "memory://me:HIDDEN@x",
        "icechunk+s3://me:HIDDEN@bucket/x",
        "simplecache::s3://me:HIDDEN@bucket/x",
        "reference://me:HIDDEN@x",
    ],
)
def test_credentials_in_urls_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Location(url)
    assert "HIDDEN" not in str(caught.value)
    assert "HIDDEN" not in json.dumps(provenance({"store": {"url": url}, "text": f"data of {url}, copied"}))


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "s3://me:HIDDEN@bucket/x"),
        ("report", "s3://bucket/x?X-Amz-Signature=HIDDEN"),
        ("status", "{secret_in_url}"),
        ("check", "{secret_in_options}"),
    ],
)
def test_credentials_in_arguments_and_files_are_not_repeated(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "secret_in_url": EXPERIMENT.replace("url: store", 'url: "s3://me:HIDDEN@bucket/x"'),
        "secret_in_options": EXPERIMENT.replace("url: store", 'url: "s3://b/x", options: {password: HIDDEN}'),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert program(*(word.format(**{name: str(tmp_path / name) for name in files}) for word in arguments)) == 2
    captured = capsys.readouterr()
    assert "credentials" in captured.err
    assert "HIDDEN" not in captured.out + captured.err


def test_stored_configuration_has_urls_without_credentials() -> None:
    stored = provenance({"source": {"url": "https://me:HIDDEN@host/x?token=HIDDEN"}, "files": ["s3://a:HIDDEN@b/c"]})
    assert "HIDDEN" not in json.dumps(stored)
    assert "https://host/x" in json.dumps(stored)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {mark}']",
        "!!python/object/new:subprocess.Popen [['touch', '{mark}']]",
        "!!python/name:os.system",
        "!!python/module:os",
        "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch {mark}']",
    ],
)
def test_yaml_of_a_stranger_cannot_run_code(tmp_path: Path, value: str) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "stranger.yaml"
    path.write_text(f"name: x\ndescription: {value.format(mark=mark)}\n", encoding="utf-8")
    readers: list[tuple[str, ...]] = [
        ("check", str(path)),
        ("run", str(path)),
        ("ingest", "era5", "--config", str(path)),
        ("ingest", "arco", "--config", str(path)),
        ("site", str(path), "--out", str(tmp_path / "out.nc")),
    ]
    for arguments in readers:
        assert program(*arguments) == 2, arguments
    assert not mark.exists()


def test_yaml_is_read_in_one_place_by_the_safe_loader() -> None:
    calls = {
        (path.name, call)
        for path in (REPOSITORY / "pipeline").rglob("*.py")
        for call in re.findall(r"yaml\.(\w*load\w*|compose\w*|\w*Loader)\b", path.read_text(encoding="utf-8"))
    }
    assert calls == {
        ("yaml_file.py", "SafeLoader"),
        ("registry.py", "safe_load"),  # the package's own file
    }


@pytest.mark.parametrize(
    ("cluster", "problem"),
    [
        ("{options: {preload: 'http://evil/x.py'}}", "preload are not taken from an experiment file"),
        ("{kind: slurm, options: {job_script_prologue: ['rm -rf ~']}}", "job_script_prologue are not taken"),
        ("{kind: slurm, options: {python: /tmp/evil}}", "python are not taken"),
        ("{kind: slurm, options: {log_directory: /etc}}", "log_directory are not taken"),
        ('{kind: slurm, options: {queue: "cpu\\nrm -rf ~"}}', "options queue: letters, digits"),
        ("{kind: slurm, options: {interface: 'lo; rm -rf ~'}}", "options interface: letters, digits"),
        ("{kind: slurm, options: {walltime: '$(rm -rf ~)'}}", "options walltime: letters, digits"),
        ("{kind: kubernetes, options: {image: evil/image}}", "image are not taken"),
        ("{kind: kubernetes, options: {custom_cluster_spec: 'http://evil'}}", "custom_cluster_spec are not taken"),
        ("{kind: gateway, options: {address: 'https://evil'}}", "address are not taken"),
        ("{kind: address, address: 'tcp://evil:8786'}", "--address tcp://evil:8786"),
        ("{kind: address, address: 'tls://127.0.0.1.evil.org:8786'}", "is not taken from a file"),
    ],
)
def test_the_cluster_of_a_stranger_cannot_run_code(tmp_path: Path, cluster: str, problem: str) -> None:
    """A scheduler, an image, a line of a job script or a preloaded module would."""
    path = tmp_path / "experiment.yaml"
    path.write_text(f"{EXPERIMENT}execution: {{cluster: {cluster}}}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        load_experiment(path)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786"])
def test_a_scheduler_of_this_machine_may_be_in_a_file(tmp_path: Path, address: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(f"{EXPERIMENT}execution: {{cluster: {{kind: address, address: '{address}'}}}}\n", encoding="utf-8")
    assert load_experiment(path).execution.cluster == ClusterConfig(kind="address", address=address)


BAD_NAMES = ["../x", "/etc/x", "a/../../x", "..", "x\\y", "x y", ".x", "x\n", ""]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_in_a_file_cannot_lead_out_of_the_store(tmp_path: Path, name: str) -> None:
    path = tmp_path / "experiment.yaml"
    content = yaml.safe_load(EXPERIMENT)
    places: list[Callable[[], dict[str, Any]]] = [
        lambda: {"name": name},
        lambda: {"open_loop": {"name": name}},
        lambda: {"assimilation": [{"name": name, "start": "2007-01-01", "observations": [{"name": "lai"}]}]},
        lambda: {"operators": [{"name": name, "training": {"start": "2007-01-01", "end": "2007-01-01"}}]},
        lambda: {"ingest": [{"source": name, "config": "x.yaml", "makes": "forcing"}]},
    ]
    for place in places:
        path.write_text(json.dumps({**content, **place()}, default=str), encoding="utf-8")
        with pytest.raises(ConfigurationError, match="cannot be used in a store"):
            load_experiment(path)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_in_calls_cannot_lead_out_of_the_store(tmp_path: Path, name: str) -> None:
    url = str(tmp_path / "inner" / "store")
    root = open_store(url, "a")
    write_group(root, "land", synthetic_land(1))
    before = sorted(tmp_path.rglob("*"))
    calls: list[Callable[[], object]] = [
        lambda: write_group(root, name, synthetic_land(1)),
        lambda: write_region(root, name, {"clay": np.zeros(1)}, {}),
        lambda: write_region(root, "land", {name: np.zeros(1)}, {}),
        lambda: read_region(root, "land", name),
        lambda: open_dataset(url, name),
    ]
    for call in calls:
        with pytest.raises(StoreError):
            call()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_a_store_of_a_stranger_does_not_lead_writes_out_of_it(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    write_group(open_store(url, "a"), "land", synthetic_land(2))
    outside = tmp_path / "home"
    outside.mkdir()
    (outside / "0").write_bytes(b"mine")
    chunks = tmp_path / "store" / "land" / "clay" / "c"
    for path in chunks.iterdir():
        path.unlink()
    chunks.rmdir()
    chunks.symlink_to(outside)
    root = open_store(url, "a")
    with pytest.raises(StoreError, match="outside the store: a link in a store is not followed"):
        write_region(root, "land", {"clay": np.full(2, 0.5)}, {})
    (tmp_path / "store" / "observations").symlink_to(outside)
    with pytest.raises(StoreError, match="outside the store"):
        write_group(root, "observations/lai", synthetic_land(2))
    (outside / "x").mkdir()
    with pytest.raises(StoreError, match="outside the store"):
        root.store_path.store.delete_sync("observations/x")  # type: ignore[attr-defined]
    assert {path.name: path.is_dir() for path in outside.iterdir()} == {"0": False, "x": True}
    assert (outside / "0").read_bytes() == b"mine"


def test_a_store_that_is_itself_a_link_is_written(tmp_path: Path) -> None:
    """The user's own choice of where the store is."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    write_group(open_store(str(tmp_path / "store"), "a"), "land", synthetic_land(2))
    assert array_hashes(str(tmp_path / "disk")) == array_hashes(str(tmp_path / "store"))


@pytest.mark.parametrize("dtype", ["S4", "U4", "M8[s]", np.dtype([("a", "f4"), ("b", "i4")])])
@pytest.mark.filterwarnings("ignore:The data type:zarr.errors.UnstableSpecificationWarning")
def test_other_than_numbers_are_refused_by_every_reader(tmp_path: Path, dtype: Any) -> None:
    url = str(tmp_path / "store")
    root = open_store(url, "a")
    root.create_group("land").create_array("x", shape=(2,), dtype=dtype, dimension_names=("cell",))
    readers: list[Callable[[], object]] = [
        open_run(url)["land"].to_dataset,
        lambda: open_dataset(url, "land"),
        lambda: read_region(root, "land", "x"),
        lambda: array_hashes(url),
    ]
    for reader in readers:
        with pytest.raises(StoreError, match="only numbers are read"):
            reader()


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in:zarr.errors.ZarrUserWarning")
def test_a_codec_with_code_of_its_own_is_refused_by_every_reader(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    group = open_store(url, "a").create_group("land")
    group.create_array("x", shape=(2,), dtype="f4", dimension_names=("cell",), compressors=zarr.codecs.numcodecs.Zlib())
    opened = open_run(url)["land"]
    for reader in (opened.to_dataset, lambda: array_hashes(url), lambda: read_region(open_store(url), "land", "x")):
        with pytest.raises(StoreError, match=r"codecs numcodecs\.zlib, which ldas does not run"):
            reader()


def test_validation_messages_do_not_repeat_what_an_unknown_key_holds() -> None:
    from ldas.pipeline.settings.experiment import ExperimentConfig

    content = {**yaml.safe_load(EXPERIMENT), "password": "HIDDEN"}
    with pytest.raises(ConfigurationError) as caught:
        validate(content, ExperimentConfig, source="x")
    assert "password: unknown key" in str(caught.value)
    assert "HIDDEN" not in str(caught.value)
