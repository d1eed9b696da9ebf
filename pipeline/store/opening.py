"""Stores opened: local folders directly, Icechunk by itself, everything else through fsspec."""

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import zarr
from fsspec import AbstractFileSystem
from zarr.abc.store import ByteRequest, OffsetByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore

from ldas.landmodel.errors import LdasError
from ldas.pipeline.errors import StoreError
from ldas.pipeline.store import icechunk_store
from ldas.pipeline.store.guard import Guard, guard_of, is_part_of_lease
from ldas.pipeline.store.location import CLOUDS, Location
from ldas.pipeline.store.retry import RetryingStore

# fsspec keeps the listings it has seen; what workers add in the meantime is not in them.
_NO_LISTINGS_KEPT = {"use_listings_cache": False}
_HALF_WRITTEN = ".partial"  # Zarr writes a file under a name with this end, then renames it
_OF_SYSTEMS = (".", "lost+found")  # what operating systems put into a folder
AccessMode = Literal["r", "a"]


class FolderStore(LocalStore):
    """A folder whose content may come from a stranger: no link in it leads a write or a deletion out of it."""

    guard: Guard | None = None

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
        """See `zarr.storage.LocalStore`; what is no part of the store is no group."""
        async for name in super().list_dir(prefix):
            if not _is_no_part(name):
                yield name


class ObjectsStore(FsspecStore):
    """Objects behind fsspec, deleted one by one where the server has no request that deletes several."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """See `zarr.storage.FsspecStore`; a whole object too is one request to S3."""
        if byte_range is None and "s3" in self.fs.protocol:  # s3fs would ask for the size first
            byte_range = OffsetByteRequest(0)
        return await super().get(key, prototype, byte_range)

    async def delete(self, key: str) -> None:
        """See `zarr.storage.FsspecStore`."""
        try:
            await super().delete(key)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            await self.fs._rm_file(f"{self.path}/{key}")

    async def delete_dir(self, prefix: str) -> None:
        """See `zarr.storage.FsspecStore`."""
        try:
            await super().delete_dir(prefix)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            for path in await self.fs._find(f"{self.path}/{prefix}"):
                await self.fs._rm_file(path)


class CloudStore(RetryingStore):
    """Any other file system: requests are tried again, and the lease is looked at before a write."""

    def __init__(self, store: Store, guard: Guard | None) -> None:
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
            if not is_part_of_lease(name):
                yield name


def zarr_store(location: Location, *, read_only: bool) -> Store:
    """The Zarr store behind a URL."""
    if location.has_versions:
        return icechunk_store.zarr_store(location, read_only=read_only)
    guard = None if read_only else guard_of(location)
    if location.protocol in ("file", "local"):
        folder = FolderStore(_local_folder(location), read_only=read_only)
        folder.guard = guard
        return folder
    try:
        options = {**_NO_LISTINGS_KEPT, **location.options} if location.protocol in CLOUDS else dict(location.options)
        files = ObjectsStore.from_url(location.url, storage_options=options, read_only=read_only)
    except (ImportError, ValueError) as error:
        raise location.cannot_be_opened(error) from error
    with _opening(location):
        _check_azure_login(files.fs)
    return CloudStore(files, guard)


@cache
def _check_azure_login(files: AbstractFileSystem) -> None:
    """Asks once for a token where there is no key: Azure's requests would ask again and again for a minute and more."""
    credential = getattr(files, "sync_credential", None)
    if credential is not None:
        logging.getLogger("azure.identity").setLevel(logging.ERROR)  # what it warns of is said in our own words
        credential.get_token("https://storage.azure.com/.default")


def require_room(location: Location) -> None:
    """Refuses a place on a disk where something other than a store is: nothing is written beside a user's files.

    Raises:
        StoreError: for a file, or a folder that holds other things.
    """
    if location.protocol not in ("file", "local"):
        return
    folder = _local_folder(location)
    if folder.is_file():
        raise StoreError(f"{location.url} is a file; expected a folder, or a place for one")
    if not folder.is_dir() or (folder / "zarr.json").exists():
        return
    others = sorted(name for name in os.listdir(folder) if not _is_no_part(name))
    if others:
        more = ", ..." if len(others) > 3 else ""
        raise StoreError(
            f"{location.url} is no store, and the folder holds other things ({', '.join(others[:3])}{more}): give the "
            "store a folder of its own"
        )


def _local_folder(location: Location) -> Path:
    return Path(location.url.split("://", 1)[-1]).expanduser()


def _is_no_part(name: str) -> bool:
    """Whether an entry of a store's folder is the lease, a file cut off while it was written, or the system's own."""
    return is_part_of_lease(name) or name.endswith(_HALF_WRITTEN) or name.startswith(_OF_SYSTEMS)


def exists(location: Location) -> bool:
    """Whether a Zarr group is at the root; StoreError where that cannot be found out."""
    with _opening(location):
        try:
            zarr.open_group(zarr_store(location, read_only=True), mode="r", zarr_format=3, use_consolidated=False)
        except FileNotFoundError:
            return False
    return True


def open_root(location: Location, mode: AccessMode) -> zarr.Group:
    """The root group; `a` creates it, `r` raises StoreError where there is none."""
    with _opening(location):
        if mode == "a":
            require_room(location)
        try:
            store = zarr_store(location, read_only=mode == "r")
            return zarr.open_group(store, mode=mode, zarr_format=3, use_consolidated=False)
        except FileNotFoundError:
            if mode != "r":
                raise
            raise StoreError(
                f"no store at {location.url}: expected a folder or URL with a Zarr v3 group at its root"
            ) from None


@contextmanager
def _opening(location: Location) -> Iterator[None]:
    """Whatever a file system says when it is first asked: each has error classes of its own."""
    try:
        yield
    except LdasError:
        raise
    except Exception as error:
        raise location.cannot_be_opened(error) from error
