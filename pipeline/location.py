"""Where a store is: its URL and fsspec options, checked before anything is opened, and never with a secret in them."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import zarr
from fsspec.registry import known_implementations, registry
from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.storage import FsspecStore, LocalStore

from landmodel.errors import LdasError
from pipeline import versioned
from pipeline.errors import StoreError
from pipeline.retry import RetryingStore

# File systems of fsspec that follow instructions found in data, or start programs: never reached from a URL in a file.
REFUSED_PROTOCOLS = frozenset({"reference", "dask", "jupyter", "jlab", "git", "ssh", "sftp", "generic"})
_SECRET_WORD = re.compile(
    r"(^|_)(key|secret|token|password|passwd|passphrase|credentials?|sas|signature|authorization|connection_string|cookies?)($|_)"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|-")  # accountKey and account-key are account_key
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


def check_name(name: str, what: str = "name") -> str:
    """A name that becomes part of a path in a store: letters, digits, `_`, `-`, `.`; it cannot lead out of it."""
    if not _SEGMENT.fullmatch(name) or ".." in name:
        raise StoreError(
            f"{what} '{name}' cannot be used in a store: letters, digits, '_', '-' and '.' only, and no '..'"
        )
    return name


def check_path(path: str) -> str:
    """A group path such as `runs/open_loop`, each part checked by `check_name`."""
    for part in path.split("/"):
        check_name(part, f"part of the group path '{path}'")
    return path


def public_url(url: str) -> str:
    """The URL without user, password and query: what may be shown in logs, reports and provenance."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def secret_options(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Names of options, nested ones too, that hold credentials: by their name, or a URL with a user or a query."""
    for name, value in options.items():
        inner: dict[str, Any] = {}
        if isinstance(value, Mapping):
            inner = dict(value)
        elif isinstance(value, list | tuple):
            inner = {str(index): item for index, item in enumerate(value)}
        named_so = _SECRET_WORD.search(_CAMEL.sub("_", str(name)).lower()) and value not in (None, "anon")
        if named_so or (isinstance(value, str) and public_url(value) != value):
            yield f"{prefix}{name}"
        else:
            yield from secret_options(inner, f"{prefix}{name}.")


class FolderStore(LocalStore):
    """A folder whose content may come from a stranger: no link in it leads a write or a deletion out of it."""

    def _check_inside(self, key: str) -> None:
        root, folder = os.path.realpath(self.root), os.path.realpath((self.root / key).parent)
        if os.path.commonpath([root, folder]) != root:
            raise StoreError(
                f"'{key}' of the store {self.root} leads to {folder}, outside the store: a link in a store is not "
                "followed for writing; remove the link, or copy what it points to into the store"
            )

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        self._check_inside(key)
        await super()._set(key, value, exclusive)

    def set_sync(self, key: str, value: Buffer) -> None:
        """See `zarr.storage.LocalStore`."""
        self._check_inside(key)
        super().set_sync(key, value)

    async def delete(self, key: str) -> None:
        """See `zarr.storage.LocalStore`."""
        self._check_inside(key)
        await super().delete(key)

    def delete_sync(self, key: str) -> None:
        """See `zarr.storage.LocalStore`."""
        self._check_inside(key)
        super().delete_sync(key)

    async def delete_dir(self, prefix: str) -> None:
        """See `zarr.storage.LocalStore`."""
        if prefix.strip("/"):
            self._check_inside(prefix.rstrip("/"))
        await super().delete_dir(prefix)


@dataclass(frozen=True)
class Location:
    """A store's URL with its fsspec options; small and picklable, so tasks carry it and open the store themselves."""

    url: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "::" in self.url:
            raise StoreError(f"the store URL {self.url} chains file systems ('::'): give one plain URL")
        if public_url(self.url) != self.url:
            raise StoreError(
                f"the store URL {public_url(self.url)} carries a user, password or query: credentials belong in the "
                "environment (for S3: AWS_ACCESS_KEY_ID and so on, or a profile), never in a file"
            )
        protocol = self.protocol
        known = protocol in known_implementations or protocol in registry or protocol in versioned.PROTOCOLS
        if protocol in REFUSED_PROTOCOLS or not known:
            raise StoreError(
                f"stores cannot be opened through '{protocol}://' ({self.url}): use a folder, memory://, s3://, gs:// "
                "or abfs://"
            )
        secret = list(secret_options(self.options))
        if secret:
            raise StoreError(
                f"store options {', '.join(sorted(secret))} are credentials: they belong in the environment of the run "
                "and its workers, never in a file"
            )

    @property
    def protocol(self) -> str:
        """`file`, `memory`, `s3`, ..."""
        return self.url.split("://", 1)[0] if "://" in self.url else "file"

    @property
    def has_versions(self) -> bool:
        """Whether it is an Icechunk repository (`pipeline.versioned`)."""
        return self.protocol in versioned.PROTOCOLS

    @property
    def shared_between_processes(self) -> bool:
        """Whether several processes see the same store (not so for memory://)."""
        return self.protocol != "memory"

    def joined(self, *parts: str) -> str:
        """URL of something below the store's root."""
        return "/".join([self.url.rstrip("/"), *parts])

    def zarr_store(self, *, read_only: bool) -> Store:
        """The Zarr store behind the URL: local folders directly, Icechunk by itself, everything else through fsspec."""
        if self.has_versions:
            return versioned.zarr_store(self, read_only=read_only)
        if self.protocol in ("file", "local"):
            path = self.url.split("://", 1)[-1]
            return FolderStore(Path(path).expanduser(), read_only=read_only)
        try:
            files = FsspecStore.from_url(self.url, storage_options=dict(self.options), read_only=read_only)
        except ImportError as error:
            package = known_implementations[self.protocol]["class"].split(".")[0]
            raise StoreError(
                f"{self.url} is reached through the package {package}, which is not here: pip install {package}, for "
                "the run and its workers"
            ) from error
        return RetryingStore(files)

    def exists(self) -> bool:
        """Whether a Zarr group is at the root; StoreError where that cannot be found out."""
        with _opening(self):
            try:
                zarr.open_group(self.zarr_store(read_only=True), mode="r", zarr_format=3, use_consolidated=False)
            except FileNotFoundError:
                return False
        return True


def as_location(where: "str | Path | Location") -> Location:
    """A `Location` of a URL, a path or a `Location`."""
    return where if isinstance(where, Location) else Location(str(where))


AccessMode = Literal["r", "a"]


@contextmanager
def _opening(location: Location) -> Iterator[None]:
    """Whatever a file system says when it is first asked: each has error classes of its own."""
    try:
        yield
    except LdasError:
        raise
    except Exception as error:
        raise StoreError(
            f"the store at {location.url} cannot be opened: {error}; check the URL, store.options, and that the "
            "credentials in the environment may read it (and write it, for a run)"
        ) from error


def open_root(location: Location, mode: AccessMode) -> zarr.Group:
    """The root group; `a` creates it, `r` raises StoreError where there is none."""
    if mode == "r" and not location.exists():
        raise StoreError(f"no store at {location.url}: expected a folder or URL with a Zarr v3 group at its root")
    store = location.zarr_store(read_only=mode == "r")
    with _opening(location):
        return zarr.open_group(store, mode=mode, zarr_format=3, use_consolidated=False)
