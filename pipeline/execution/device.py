"""On what the land model of a run computes: the processor, or the cards of workers that offer one.

A worker offers its card by Dask's own worker resource `GPU`: as many as tasks may have a turn on it. Workers of this
machine do so where the experiment asks for a card; others are started with `--resources GPU=1`. A card belongs to one
worker process, whose tasks take turns: two processes with the same card are refused, as neither would know how much of
its memory is left.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ldas.landmodel.gpu import Card, CardError, find_card
from ldas.pipeline.errors import ConfigurationError, ExecutionError
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.execution.workers import workers_of
from ldas.pipeline.settings.execution import CARD, ExecutionConfig

if TYPE_CHECKING:
    from distributed import Client


def cards_for(settings: ExecutionConfig, client: "Client", message: Callable[[str], None]) -> list[Card]:
    """The cards that a run computes on, one of each worker that offers one; none: it computes on the processor.

    Raises:
        ExecutionError: `device: gpu` without a card; what stands in its way is said.
        ConfigurationError: workers that share a card.
    """
    if settings.device == "cpu":
        return []
    try:
        found = _cards_of_workers(client, settings.cluster.kind)
    except ExecutionError as missing:
        if settings.device == "gpu":
            raise
        message(f"device: cpu, as {without_advice(missing)}")
        return []
    _refuse_shared(found)
    cards = list(found.values())
    message(f"device: gpu ({', '.join(sorted({card.name for card in cards}))})")
    return cards


def without_advice(missing: Exception) -> str:
    """Why no card is used, for `device: auto`: not what to do about it where the processor takes over anyway."""
    return str(missing).removesuffix(": run with device: cpu")


def _cards_of_workers(client: "Client", kind: str) -> dict[str, Card]:
    """The card of each worker that offers one, by the worker's address."""
    workers = workers_of(client)
    offering = [address for address, worker in workers.items() if worker["resources"].get(CARD)]
    if not offering:
        raise ExecutionError(
            f"no worker offers a card: on machines that have one start workers with `dask worker --resources {CARD}=1` "
            f"(kind: {kind}; see docs/operations.md)"
        )
    found = client.run(_card_here, workers=offering)
    for address, card in found.items():
        if isinstance(card, str):
            raise ExecutionError(card if kind == "local" else f"worker {address}: {card}")
    return dict(found)


def _card_here() -> Card | str:
    """The card of this process, or why it has none."""
    try:
        return find_card()
    except CardError as error:
        return str(error)


def _refuse_shared(cards: dict[str, Card]) -> None:
    seen: dict[str, str] = {}
    for address, card in cards.items():
        if card.uuid in seen:
            raise ConfigurationError(
                f"the workers {seen[card.uuid]} and {address} share a card ({card.name}), which belongs to one worker: "
                "give one worker several threads, which take turns on it (execution.cluster.threads_per_worker, "
                "processes: false), or each worker a card of its own (CUDA_VISIBLE_DEVICES)"
            )
        seen[card.uuid] = address


def check_cards(stage: Stage, cards: Sequence[Card]) -> None:
    """Refuses, before the start, blocks of cells that the smallest card does not hold, with a size that it does.

    Raises:
        ExecutionError: for them.
    """
    cells = min(stage.cells_per_block, stage.cells)
    for card in cards:
        most = stage.cells_that_fit(card)
        if most is not None and cells > most:
            advice = f"set {stage.size_key} to {most}, or " if most else ""
            raise ExecutionError(
                f"a task of '{stage.name}' over {cells} cells does not fit on {card.name}, of whose "
                f"{card.total_bytes / 2**30:.1f} GiB {card.free_bytes / 2**30:.1f} GiB are free: {advice}stop what "
                "else uses the card, or use a larger one"
            )
