"""What a writable store asks before it writes: whether this process still holds the store's lease."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Protocol

from ldas.pipeline.store.location import Location

NAME = "ldas_lease.json"  # the lease's file, at the root of the store


class Guard(Protocol):
    """What a writable store asks before it writes."""

    def check(self) -> None:
        """LeaseLostError where the lease is no longer held; StoreError where that cannot be found out."""

    @property
    def is_fresh(self) -> bool:
        """Whether `check` would ask nobody."""


# Of the stores that this thread may write, by URL.
guards: ContextVar[Mapping[str, Guard]] = ContextVar("guards", default={})  # noqa: B039 - never changed in place


def guard_of(location: Location) -> Guard | None:
    """What has to be asked before the store is written; None where no lease is held."""
    return guards.get().get(location.url)


def is_part_of_lease(key: str) -> bool:
    """Whether an entry at the root of a store is the lease's, and so no group."""
    return key.startswith(NAME)
