"""Several small requests to a store under way at a time: on an object store, waiting is most of the work."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

_REQUESTS_AT_ONCE = 8
Item = TypeVar("Item")
Result = TypeVar("Result")


def at_once(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The function of every item, several at a time.

    The function may not call this one. After an error nothing new is begun, and nothing is still under way.
    """
    if len(items) == 1:
        return [function(items[0])]
    futures = [_threads().submit(function, item) for item in items]
    wait(futures, return_when=FIRST_EXCEPTION)
    for future in futures:
        future.cancel()
    wait(futures)
    return [future.result() for future in futures]


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads for small requests, kept: to start them takes longer than such a request to a folder."""
    return ThreadPoolExecutor(_REQUESTS_AT_ONCE, thread_name_prefix="ldas-store")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a forked process has none of its parent's threads
