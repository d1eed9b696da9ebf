"""Where a store is: its URL and fsspec options, checked before anything is opened, and never with a secret in them."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
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
from pipeline import lease, versioned
from pipeline.errors import StoreError
from pipeline.retry import RetryingStore
from pipeline.store_options import check_options

# File systems of fsspec that follow instructions found in data, or start programs: never reached from a URL in a file.
REFUSED_PROTOCOLS = frozenset({"reference", "dask", "jupyter", "jlab", "git", "ssh", "sftp", "generic"})
# Azure's own form: container@account.dfs.core.windows.net; in other clouds the end of the host differs.
_EXTRAS = {"adlfs": "azure", "gcsfs": "gcs"}  # of this package, by the package that reaches the store
_AZURE = frozenset({"abfs", "abfss", "az"})
_CLOUDS = _AZURE | {"s3", "s3a", "gs", "gcs"}
# fsspec keeps the listings it has seen; what workers add in the meantime is not in them.
_NO_LISTINGS_KEPT = {"use_listings_cache": False}
_AZURE_HOST = re.compile(r"(?P<container>[a-z0-9$][a-z0-9\-]{2,62})@[a-z0-9]{3,24}\.(dfs|blob)\.[a-z0-9.\-]+")
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s'\"<>]*")
_VERSIONS = frozenset({"versionid", "generation", "snapshot"})  # in a query: which version of an object is meant
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


def public_url(text: str) -> str:
    """A URL, or a text with URLs in it, without user, password and query: what may be shown and stored."""
    return _URL_IN_TEXT.sub(lambda found: _public(found[0]), text)


def _public(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # such as a bracket that is not closed
        return url.partition("://")[0] + "://"
    named = parts.scheme in _AZURE and _AZURE_HOST.fullmatch(parts.netloc)
    host = parts.netloc if named else parts.netloc.rpartition("@")[2]
    return f"{url.partition('://')[0]}://{host}{parts.path}"


class FolderStore(LocalStore):
    """A folder whose content may come from a stranger: no link in it leads a write or a deletion out of it."""

    guard: lease.Guard | None = None

    def _check_write(self, key: str) -> None:
        if self.guard is not None:
            self.guard.check()
        root, folder = os.path.realpath(self.root), os.path.realpath((self.root / key).parent)
        if os.path.commonpath([root, folder]) != root:
            raise StoreError(
                f"'{key}' of the store {self.root} leads to {folder}, outside the store: a link in a store is not "
                "followed for writing; remove the link, or copy what it points to into the store"
            )

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        self._check_write(key)
        await super()._set(key, value, exclusive)

    def set_sync(self, key: str, value: Buffer) -> None:
        """See `zarr.storage.LocalStore`."""
        self._check_write(key)
        super().set_sync(key, value)

    async def delete(self, key: str) -> None:
        """See `zarr.storage.LocalStore`."""
        self._check_write(key)
        await super().delete(key)

    def delete_sync(self, key: str) -> None:
        """See `zarr.storage.LocalStore`."""
        self._check_write(key)
        super().delete_sync(key)

    async def delete_dir(self, prefix: str) -> None:
        """See `zarr.storage.LocalStore`."""
        if prefix.strip("/"):
            self._check_write(prefix.rstrip("/"))
        await super().delete_dir(prefix)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """See `zarr.storage.LocalStore`; the lease is no group."""
        async for name in super().list_dir(prefix):
            if not lease.is_part_of_lease(name):
                yield name


class CloudStore(RetryingStore):
    """Any other file system: requests are tried again, and the lease is looked at before a write."""

    def __init__(self, store: Store, guard: lease.Guard | None) -> None:
        super().__init__(store)
        self._guard = guard

    async def _check_write(self) -> None:
        if self._guard is not None and not self._guard.is_fresh:
            await asyncio.to_thread(self._guard.check)

    async def set(self, key: str, value: Buffer) -> None:
        """See `RetryingStore`."""
        await self._check_write()
        await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """See `RetryingStore`."""
        await self._check_write()
        await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        """See `RetryingStore`."""
        await self._check_write()
        await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """See `RetryingStore`."""
        await self._check_write()
        await super().delete_dir(prefix)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """See `RetryingStore`; the lease is no group."""
        async for name in super().list_dir(prefix):
            if not lease.is_part_of_lease(name):
                yield name


@dataclass(frozen=True)
class Location:
    """A store's URL with its fsspec options; small and picklable, so tasks carry it and open the store themselves."""

    url: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "::" in self.url:
            raise StoreError(f"the store URL {public_url(self.url)} chains file systems ('::'): give one plain URL")
        protocol = self.protocol
        known = {*known_implementations, *registry, *versioned.PROTOCOLS, *_AZURE}
        if protocol in REFUSED_PROTOCOLS or protocol not in known:
            raise StoreError(
                f"stores cannot be opened through '{protocol}://' ({public_url(self.url)}): use a folder, memory://, "
                "s3://, gs:// or abfs://"
            )
        self._check_url()
        check_options(protocol, self.options, lambda text: public_url(text) == text)

    def _check_url(self) -> None:
        if "://" not in self.url or public_url(self.url) == self.url:
            return
        shown = public_url(self.url)
        # Written with its path too: a bracket or quote in it is no credential.
        query = urlsplit(self.url).query if "?" in self.url else ""
        names = [part.partition("=")[0] for part in query.split("&") if part]
        if names and "@" not in self.url.partition("?")[0] and all(name.lower() in _VERSIONS for name in names):
            raise StoreError(
                f"the store URL {shown} carries {', '.join(names)}: that names a version of one object, and a store is "
                "many; leave it out"
            )
        raise StoreError(
            f"the store URL {shown} carries a user, password or query: credentials belong in the "
            "environment (for S3: AWS_ACCESS_KEY_ID and so on, or a profile), never in a file"
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
        guard = None if read_only else lease.guard(self)
        if self.protocol in ("file", "local"):
            path = self.url.split("://", 1)[-1]
            folder = FolderStore(Path(path).expanduser(), read_only=read_only)
            folder.guard = guard
            return folder
        try:
            options = {**_NO_LISTINGS_KEPT, **self.options} if self.protocol in _CLOUDS else dict(self.options)
            files = FsspecStore.from_url(self.url, storage_options=options, read_only=read_only)
        except (ImportError, ValueError) as error:
            raise self.cannot_be_opened(error) from error
        return CloudStore(files, guard)

    def cannot_be_opened(self, error: Exception) -> StoreError:
        """What to say where a file system says something of its own, or is not here."""
        # Of Azure's three protocols, fsspec knows one by adlfs only.
        known = known_implementations.get("abfs" if self.protocol in _AZURE else self.protocol)
        missing = isinstance(error, ImportError) or str(error).startswith("Protocol not known")
        if missing and known is not None:
            package = known["class"].split(".")[0]
            wanted = f"'ldas[{_EXTRAS[package]}]'" if package in _EXTRAS else package
            return StoreError(
                f"{self.url} is reached through the package {package}, which is not here: pip install {wanted}, for "
                "the run and its workers"
            )
        return StoreError(
            f"the store at {self.url} cannot be opened: {public_url(str(error))}; check the URL, store.options, and "
            "that the credentials in the environment may read it (and write it, for a run)"
        )

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
        raise location.cannot_be_opened(error) from error


def open_root(location: Location, mode: AccessMode) -> zarr.Group:
    """The root group; `a` creates it, `r` raises StoreError where there is none."""
    if mode == "r" and not location.exists():
        raise StoreError(f"no store at {location.url}: expected a folder or URL with a Zarr v3 group at its root")
    store = location.zarr_store(read_only=mode == "r")
    with _opening(location):
        return zarr.open_group(store, mode=mode, zarr_format=3, use_consolidated=False)
