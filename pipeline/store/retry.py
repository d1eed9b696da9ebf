"""Requests to a store that fail now and then are tried again, a little later each time."""

import asyncio
import errno
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from ldas.pipeline.errors import ExecutionError

Result = TypeVar("Result")
# A disk that is full or may not be written: trying again changes nothing.
HOPELESS = frozenset({errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM})
ATTEMPTS = 6
FIRST_WAIT_S = 0.1


def is_hopeless(error: BaseException) -> bool:
    """Whether the store is full or may not be written."""
    return isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno in HOPELESS)


def not_writable(url: str, error: BaseException) -> ExecutionError:
    """What to say of a store that is full or may not be written."""
    reason = getattr(error, "strerror", None) or error
    return ExecutionError(
        f"{url} cannot be written ({reason}); what was complete stays readable: make room or give permission, then "
        "start the same command again"
    )


def is_transient(error: BaseException) -> bool:
    """Whether an error may be gone at the next attempt: timeouts, lost connections, 500 and 503 of object stores."""
    # Connections lost below S3 and Google's protocol are no OSError; imported here, since most runs need neither.
    from aiohttp import ClientError
    from botocore.exceptions import HTTPClientError

    if isinstance(error, HTTPClientError | ClientError):
        return True
    final = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
    if not isinstance(error, OSError) or isinstance(error, final) or is_hopeless(error):
        return False
    return error.errno != errno.ENOSYS  # 501: the server does not have this request


class RetryingStore(WrapperStore[Store]):
    """A Zarr store whose requests are tried up to `ATTEMPTS` times."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """See `zarr.abc.store.Store`."""
        return await tried(lambda: self._store.get(key, prototype, byte_range))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """See `zarr.abc.store.Store`."""
        ranges = list(key_ranges)
        return await tried(lambda: self._store.get_partial_values(prototype, ranges))

    async def exists(self, key: str) -> bool:
        """See `zarr.abc.store.Store`."""
        return await tried(lambda: self._store.exists(key))

    async def set(self, key: str, value: Buffer) -> None:
        """See `zarr.abc.store.Store`; a request that failed after it took effect writes the same bytes again."""
        await tried(lambda: self._store.set(key, value))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """See `zarr.abc.store.Store`."""
        await tried(lambda: self._store.set_if_not_exists(key, value))

    async def delete(self, key: str) -> None:
        """See `zarr.abc.store.Store`."""
        await tried(lambda: self._store.delete(key))

    async def delete_dir(self, prefix: str) -> None:
        """See `zarr.abc.store.Store`."""
        await tried(lambda: self._store.delete_dir(prefix))

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """See `zarr.abc.store.Store`; the listing is complete before the first name is given."""
        for name in await tried(lambda: _collected(self._store.list_dir(prefix))):
            yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """See `zarr.abc.store.Store`; the listing is complete before the first name is given."""
        for name in await tried(lambda: _collected(self._store.list_prefix(prefix))):
            yield name


async def _collected(names: AsyncIterator[str]) -> list[str]:
    return [name async for name in names]


async def tried(request: Callable[[], Awaitable[Result]]) -> Result:
    """The result of a request; transient errors are waited out with doubling, jittered pauses."""
    wait = FIRST_WAIT_S
    for _ in range(ATTEMPTS - 1):
        try:
            return await request()
        except Exception as error:
            if not is_transient(error):
                raise
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # workers that failed together must not return together
        wait *= 2
    return await request()
