"""Requests to a store, without the hand-overs from thread to thread that cost more than a small request.

Zarr runs every request in an event loop in a thread of its own, which gives reading, writing and compression to further
threads. Here, requests run in the thread that asks: those to a folder one after the other, those to other stores, where
waiting is most of the work, several at a time. Only file systems of fsspec keep Zarr's loop, which their connections
belong to.
"""

import asyncio
import atexit
import os
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from zarr.abc.store import Store
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, WrapperStore

_REQUESTS_AT_ONCE = 8
Item = TypeVar("Item")
Result = TypeVar("Result")


def answer(store: Store, request: Coroutine[Any, Any, Result]) -> Result:
    """What a request to a store gives."""
    if isinstance(_innermost(store), FsspecStore) or asyncio._get_running_loop() is not None:  # as in a notebook
        return sync(request)
    loop = _idle_loop()
    try:
        result = loop.run_until_complete(request)
    except BaseException:  # it may hold what was not ended
        loop.close()
        raise
    _idle.append(loop)
    return result


def answers(
    store: Store, request: Callable[[Item], Coroutine[Any, Any, Result]], items: Sequence[Item]
) -> list[Result]:
    """What the request of every item gives. After an error nothing new is begun, and nothing is still under way."""
    if isinstance(_innermost(store), LocalStore):
        return answer(store, _one_by_one(request, items))
    return answer(store, _several(request, items))


def _innermost(store: Store) -> Store:
    while isinstance(store, WrapperStore):
        store = store._store
    return store


async def _one_by_one(request: Callable[[Item], Awaitable[Result]], items: Sequence[Item]) -> list[Result]:
    return [await request(item) for item in items]


async def _several(request: Callable[[Item], Awaitable[Result]], items: Sequence[Item]) -> list[Result]:
    places, failed = asyncio.Semaphore(_REQUESTS_AT_ONCE), asyncio.Event()

    async def one(item: Item) -> Result:
        async with places:
            if failed.is_set():
                raise asyncio.CancelledError
            try:
                return await request(item)
            except BaseException:
                failed.set()
                raise

    found = await asyncio.gather(*map(one, items), return_exceptions=True)
    errors = [each for each in found if isinstance(each, BaseException)]
    for error in sorted(errors, key=lambda error: isinstance(error, asyncio.CancelledError)):
        raise error
    return [each for each in found if not isinstance(each, BaseException)]


class _SameThread(asyncio.SelectorEventLoop):
    """An event loop that runs at once, in its own thread, what it is given for another one."""

    def run_in_executor(  # type: ignore[override]
        self, executor: object, function: Callable[..., Result], *args: Any
    ) -> "asyncio.Future[Result]":
        """See `asyncio.loop`."""
        done: asyncio.Future[Result] = self.create_future()
        done.set_result(function(*args))
        return done


_idle: deque[asyncio.AbstractEventLoop] = deque()
_of_parent: list[asyncio.AbstractEventLoop] = []


def _idle_loop() -> asyncio.AbstractEventLoop:
    """An event loop that no thread runs; kept, because to make one takes as long as a request."""
    try:
        return _idle.pop()
    except IndexError:
        return _SameThread()


@atexit.register
def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


def _leave_to_parent() -> None:
    _of_parent.extend(_idle)  # not closed: that would take from the parent what wakes them
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
