"""Who works for a run, as its scheduler says."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client


def workers_of(client: "Client") -> Mapping[str, Mapping[str, Any]]:
    """What the scheduler knows of each worker (name, threads, memory, resources), by its address.

    `Client.scheduler_info` keeps the answer where the client itself puts one without workers every two seconds: now and
    then a run would seem to have none (findings/dask_scheduler_info_race.sh).
    """
    answer: Mapping[str, Any] = client.sync(client.scheduler.identity, n_workers=-1)
    workers: Mapping[str, Mapping[str, Any]] = answer["workers"]
    return workers
