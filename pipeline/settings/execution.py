"""How the work of an experiment is cut, where it runs and on which device: its section `execution`."""

import re
from collections.abc import Collection
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.settings.yaml_file import StrictModel

CARD = "GPU"  # Dask's worker resource of a card: how many tasks may have their turn on it

# What a file may ask of a cluster: resources. What decides whose code runs, or where files go (images, gateways, lines
# and folders of job scripts), is for Dask's own configuration, which a file from a stranger does not reach.
CLUSTER_OPTIONS: dict[str, frozenset[str]] = {
    "local": frozenset(),
    "address": frozenset(),
    "slurm": frozenset({"queue", "account", "cores", "processes", "memory", "walltime", "interface"}),
    "kubernetes": frozenset({"name", "namespace", "resources"}),
    "gateway": frozenset({"worker_cores", "worker_memory"}),
}
# Keys that act on some kinds of clusters only: workers that others start have threads and memory of their own.
OF_SOME_KINDS: dict[str, frozenset[str]] = {
    "processes": frozenset({"local"}),
    "threads_per_worker": frozenset({"local", "slurm", "kubernetes"}),
    "memory_limit": frozenset({"local", "slurm", "kubernetes"}),
}
_PLAIN_OPTION = re.compile(r"[A-Za-z0-9_.:%@+\-]+")  # they become part of job scripts and command lines


def _plain_option(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_plain_option(item) for pair in value.items() for item in pair)
    return isinstance(value, int | float) or (isinstance(value, str) and _PLAIN_OPTION.fullmatch(value) is not None)


class ClusterConfig(StrictModel):
    """Where tasks run."""

    kind: Literal["local", "address", "slurm", "kubernetes", "gateway"] = Field("local", description="Kind of cluster")
    workers: int | None = Field(None, ge=1, description="Workers (local: all cores)")
    threads_per_worker: int = Field(1, ge=1, description="Threads, and so tasks at a time, of each worker")
    processes: bool = Field(False, description="Local workers as processes instead of threads of this process")
    memory_limit: str | None = Field(None, description="Memory of each worker, such as 4GiB (local: an equal share)")
    address: str | None = Field(
        None,
        description="Scheduler of kind address: in a file, of this machine only; others by --address or "
        "DASK_SCHEDULER_ADDRESS",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Resources: of slurm queue, account, cores, processes, memory, walltime, interface; of kubernetes "
        "name, namespace, resources; of gateway worker_cores, worker_memory; all else is for Dask's configuration",
    )

    @field_validator("memory_limit")
    @classmethod
    def _bytes(cls, value: str | None) -> str | None:
        from dask.utils import parse_bytes

        with suppress(ValueError):
            if value is None or value == "auto" or parse_bytes(value) > 0:
                return value
        raise ValueError("expected a size with its unit, such as 4GiB")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind != "address" and self.address is not None:
            raise ValueError(f"address belongs to kind: address, the kind is {self.kind}")
        for key, kinds in OF_SOME_KINDS.items():
            if self.kind not in kinds and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} has no effect with kind: {self.kind}, only with {', '.join(sorted(kinds))}")
        known = CLUSTER_OPTIONS[self.kind]
        other = sorted(set(self.options) - known)
        if other:
            raise ValueError(
                f"cluster options {', '.join(other)} are not taken from an experiment file (kind {self.kind} has "
                f"{', '.join(sorted(known)) or 'none'}): what can run code or name folders is set in Dask's own "
                "configuration (~/.config/dask/*.yaml or DASK_... variables)"
            )
        strange = sorted(name for name, value in self.options.items() if not _plain_option(value))
        if strange:
            raise ValueError(
                f"cluster options {', '.join(strange)}: letters, digits and . : % @ + - _ only, they become part of "
                "a job"
            )
        return self

    @property
    def address_is_of_this_machine(self) -> bool:
        """Whether the address is a loopback one."""
        host = urlsplit(self.address or "").hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


class ExecutionConfig(StrictModel):
    """How the work is cut and run; results depend on the device alone, in their last digits."""

    device: Literal["cpu", "gpu", "auto"] = Field(
        "cpu",
        description="Where the land model of spin-up, open loop, assimilation and forecasts computes: on the "
        "processor, on the cards of the workers that offer one, or (auto) on a card where there is one",
    )
    cells_per_block: int = Field(64, ge=1, description="Cells of one task, and width of a shard")
    days_per_period: int = Field(366, ge=1, description="Days of one task, and length of a shard")
    window: int | None = Field(None, ge=1, description="Most tasks in flight (default: three per thread)")
    retries: int = Field(2, ge=0, description="Times a failed task is tried again before its block is set aside")
    cluster: ClusterConfig = ClusterConfig()
    _cards: tuple[str, ...] = ()

    def computed_on(self, cards: Collection[str]) -> Self:
        """The same settings with the device chosen: the cards of these names, or the processor where there is none."""
        chosen = self.model_copy(update={"device": "gpu" if cards else "cpu"})
        chosen._cards = tuple(sorted(set(cards)))
        return chosen

    @property
    def device_name(self) -> str:
        """The chosen device, for provenance."""
        return f"gpu ({', '.join(self._cards)})" if self._cards else self.device


def refuse_other_machines(path: Path, cluster: ClusterConfig, instead: str = "") -> None:
    """Refuses a file that names the scheduler of another machine; instead: a way to name it, beside the environment.

    Raises:
        ConfigurationError: for it.
    """
    if cluster.address is not None and not cluster.address_is_of_this_machine:
        raise ConfigurationError(
            f"{path}: execution.cluster.address: a scheduler can run code on the machines that connect to it, so the "
            f"address of another machine is not taken from a file: {instead}set DASK_SCHEDULER_ADDRESS and leave the "
            "key out"
        )
