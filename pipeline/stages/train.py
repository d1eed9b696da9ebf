"""Training of the observation operators: from the open loop and observations to networks in the store."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import zarr

from ldas.assim.predictors import SEASON, season
from ldas.operators.architecture import ARCHITECTURES, search_architectures
from ldas.operators.cells import cell_ids_from_coordinates
from ldas.operators.neural import NeuralOperator
from ldas.operators.outcome import outcome_counts
from ldas.operators.protocol import SharingOperator, TrainableOperator
from ldas.operators.scores import scores_of
from ldas.pipeline import registry
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.settings.assimilation import OperatorConfig, WindowConfig
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.labels import instants
from ldas.pipeline.stages.land import land_checksum, read_land
from ldas.pipeline.stages.observations import (
    days_of_group,
    good_values,
    interpolated_in_time,
    read_observations,
    require_hours,
    values_of_windows,
)
from ldas.pipeline.stages.overpass_samples import overpass_samples
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import existing_group, has_group, read_region, write_region
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.operator_blocks import (
    blocks_of_operator,
    complete_operator,
    create_operator,
    is_complete_operator,
    is_in_blocks,
    write_block,
)
from ldas.pipeline.store.operator_store import operator_path, write_operator
from ldas.pipeline.store.provenance import group_checksum
from ldas.pipeline.store.shared_weights import read_shared
from ldas.pipeline.store.template import ArraySpec, create_template

TENSORFLOW_BYTES = 750 * 2**20  # imported, with a compiled training; more blocks in the same worker take no more
_CELLS_PER_BLOCK = 64  # of operators whose options do not say it


class Samples(NamedTuple):
    """Training pairs: predictors (cell, day or overpass, predictor) and target (cell, day or overpass), or (cell, day,
    observation) of several, NaN where missing."""

    predictors: np.ndarray
    target: np.ndarray


def training_stage(operator: str) -> str:
    """Name of the stage that trains an operator."""
    return f"train-{operator}"


def cells_per_training_block(settings: OperatorConfig) -> int | None:
    """Cells of a training block, which never depends on how work is spread; None for an operator that is trained with
    all cells at once."""
    operator = settings.untrained()
    if not hasattr(operator, "fit_block"):
        return None
    return int(getattr(getattr(operator, "options", None), "block_size", _CELLS_PER_BLOCK))


def sharing_stage(operator: str) -> str:
    """Name of the stage that trains what all cells of an operator share."""
    return f"train-{operator}-shared"


def shares_weights(settings: OperatorConfig) -> bool:
    """Whether the cells share weights, which are trained before any of them."""
    return isinstance(settings.untrained(), SharingOperator)


def _fit_block(operator: TrainableOperator) -> Callable[..., TrainableOperator]:
    """`fit_block` of an operator still to be trained, which has it."""
    fit: Callable[..., TrainableOperator] = operator.fit_block  # type: ignore[attr-defined]
    return fit


@dataclass(frozen=True)
class Train(Stage):
    """Trains one operator: a task for each training block, whose size belongs to the operator's options, or one task of
    all cells where these share anything."""

    config: ExperimentConfig
    settings: OperatorConfig
    growing_keys: ClassVar[tuple[str, ...]] = ("open_loop.period.end",)
    size_key: ClassVar[str] = "operators.neural.block_size"
    days_key: ClassVar[str | None] = None

    @property
    def by_blocks(self) -> bool:
        """Whether each block is trained without the others."""
        return cells_per_training_block(self.settings) is not None

    def periods(self) -> Sequence[Period]:
        """One: the training window."""
        window = self.settings.training
        return [Period(0, np.datetime64(window.start, "s"), np.datetime64(window.end, "s"), slice(0, 1))]

    @property
    def needs(self) -> Collection[str]:
        """See `Stage.needs`: the states that the observations are paired with, where all are needed at once, and what
        the cells share."""
        if not self.by_blocks:
            return (self.config.open_loop.name,)
        return (sharing_stage(self.settings.name),) if shares_weights(self.settings) else ()

    @property
    def follows(self) -> Collection[str]:
        """See `Stage.follows`: the states that the observations are paired with."""
        return (self.config.open_loop.name,) if self.by_blocks else ()

    def work_days(self, period: Period) -> float:
        """No model days."""
        return 0.0

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`."""
        return {
            "operator": self.settings.model_dump(mode="json"),
            "open_loop": ledger.stored_identity(self.root(), self.config.open_loop.name),
        }

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`; the group of an operator that is one task is written when it is trained.

        Raises:
            ConfigurationError, StoreError: if nothing could be trained; the operator of that name is still there.
        """
        self.require_inputs(root)
        self._refuse_another(root)
        if not self.by_blocks:
            return
        latitude, longitude = (read_land(root, name) for name in ("latitude", "longitude"))
        predictors, outputs = len(self.settings.predictor_names), self.settings.observations
        create_operator(
            root,
            self.settings.name,
            _fit_block(self.settings.untrained())(
                np.zeros((0, 0, predictors)),
                np.zeros((0, 0, len(outputs)) if len(outputs) > 1 else (0, 0)),
                cell_ids=np.zeros(0, np.int64),
            ),
            cells_per_block=self.cells_per_block,
            cell_ids=cell_ids_from_coordinates(latitude, longitude),
            coordinates={"latitude": latitude.astype(np.float64), "longitude": longitude.astype(np.float64)},
            windows={name: _days(window) for name, window in self.windows.items()},
            configuration=self.settings.model_dump(mode="json"),
            identity=self.operator_identity(root),
        )
        if self.settings.search_architectures:
            self._create_architectures(root)

    def require_inputs(self, root: zarr.Group) -> None:
        """Refuses windows without a day, predictors that the open loop does not store, and missing observations."""
        name = self.settings.name
        for window in self.windows.values():
            self._days_in(root, window)
        stored = self.config.output.instant
        missing = [predictor for predictor in self.settings.state_names if predictor not in stored]
        if missing:
            raise ConfigurationError(f"operator {name}: add {', '.join(missing)} to output.instant")
        for field in self._static_names:
            if field not in existing_group(root, "land"):
                raise ConfigurationError(
                    f"operator {name}: the group 'land' has no {field}, which its option `static` names; it has "
                    f"{', '.join(sorted(array for array, _ in existing_group(root, 'land').arrays()))}"
                )
        for needed in filter(None, (*self.settings.observations, self.settings.observed_lai)):
            read_observations(root, needed, Block(0, 0, 1))
        window = self.settings.training
        for observation in self.settings.observations:
            if self.settings.time_matching == "overpass":
                require_hours(root, observation)
            days = days_of_group(root, f"observations/{observation}").astype("datetime64[D]")
            # The 24 h window of the first day begins on the day before.
            if not ((days >= np.datetime64(window.start) - 1) & (days <= np.datetime64(window.end))).any():
                there = f"they run from {days.min()} to {days.max()}" if days.size else "there are none"
                raise ConfigurationError(
                    f"operator {name}: no observation of {observation} lies in the training window {window.start} to "
                    f"{window.end}: {there}"
                )

    def _refuse_another(self, root: zarr.Group) -> None:
        """Refuses to take the place of an operator that this training has not made, such as one of `ldas train`."""
        path = operator_path(self.settings.name)
        if self.name in ledger.experiments(root) or not has_group(root, path):
            return
        known = existing_group(root, path).attrs
        if known.get("complete", False) and known.get("identity") != self.operator_identity(root):
            raise ConfigurationError(
                f"operator {self.settings.name}: the store has one of that name that was trained otherwise; give this "
                f"one another name, or remove the group '{path}'"
            )

    def operator_identity(self, root: zarr.Group) -> str:
        """Checksum of all that the operator follows from: settings, what made the open loop, and the observations."""
        names = (*self.settings.observations, self.settings.observed_lai)
        paths = {f"observations/{name}" for name in names if name}
        observed = {path: group_checksum(existing_group(root, path)) for path in sorted(paths) if has_group(root, path)}
        made_from = ledger.flatten({**self.identity(), "observations": observed, "land": land_checksum(root)})
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()

    def is_outdated(self, root: zarr.Group) -> bool:
        """See `Stage.is_outdated`: training used to be one task of all cells."""
        if not self.by_blocks or ledger.is_complete(root, self.name):
            return False
        return ledger.block_size(root, self.name) != self.cells_per_block or not is_in_blocks(root, self.settings.name)

    @property
    def windows(self) -> Mapping[str, WindowConfig]:
        """The windows by name."""
        test = {} if self.settings.test is None else {"test": self.settings.test}
        return {"training": self.settings.training, **test}

    def extend(self, root: zarr.Group, old_periods: Sequence[Sequence[str]]) -> None:
        """Nothing: an open loop that is extended does not change the training window."""

    def _days_in(self, root: zarr.Group, window: WindowConfig) -> tuple[np.ndarray, slice]:
        """Days of the open loop that lie in a window, and where they are on its time axis."""
        days = read_region(root, f"runs/{self.config.open_loop.name}", "time").astype("datetime64[D]")
        chosen = (days >= np.datetime64(window.start)) & (days <= np.datetime64(window.end))
        if not chosen.any():
            raise ConfigurationError(
                f"operator {self.settings.name}: no day of the open loop ({days[0]} to {days[-1]}) lies in the window "
                f"{window.start} to {window.end}"
            )
        return days[chosen], slice(int(chosen.argmax()), int(len(chosen) - chosen[::-1].argmax()))

    @property
    def _static_names(self) -> Sequence[str]:
        """Fields of the land that the operator is given in training."""
        return getattr(getattr(self.settings.untrained(), "options", None), "static", ())

    def static(self, root: zarr.Group, block: Block) -> dict[str, Any]:
        """These fields of a block by name, as the argument `static` of what trains; none if it has no such options."""
        names = self._static_names
        return {"static": {name: read_land(root, name, block.region) for name in names}} if names else {}

    def samples(self, root: zarr.Group, block: Block, window: WindowConfig) -> Samples:
        """Pairs of a window in a block: open-loop soil moisture and temperature at the analysis hour, LAI, and the
        observation of the same 24 h window; or each overpass with the states at its own time."""
        path = f"runs/{self.config.open_loop.name}"
        days, rows = self._days_in(root, window)
        region = {"time": rows, "cell": block.region}
        names = self.settings.predictor_names
        if self.settings.time_matching == "overpass":
            step_s = self.config.model.time_step_s
            return Samples(*overpass_samples(root, self.settings, path, step_s, block, days, region))
        hour = self.config.model.analysis_hour_utc
        end_of_window = instants(days, hour)
        model = {
            name: np.asarray(read_region(root, path, name, region), dtype=np.float64)
            for name in self.settings.state_names
        }
        model |= {name: np.repeat(season(name, end_of_window)[:, None], block.cells, axis=1) for name in SEASON}
        if self.settings.observed_lai is not None:
            times, arrays = read_observations(root, self.settings.observed_lai, block)
            model["LAI"] = interpolated_in_time(times, good_values(arrays), end_of_window)
        predictors = np.stack([model[name] for name in names], axis=-1)
        absent = ~np.isfinite(predictors).all(axis=-1)
        targets = []
        for observation in self.settings.observations:
            times, arrays = read_observations(root, observation, block)
            target = values_of_windows(times, good_values(arrays), end_of_window, hour)
            target[absent] = np.nan
            targets.append(target.T)
        together = np.stack(targets, axis=-1) if len(targets) > 1 else targets[0]
        return Samples(np.swapaxes(predictors, 0, 1), together)

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`."""
        latitude, longitude = (read_land(root, name, block.region) for name in ("latitude", "longitude"))
        cell_ids = cell_ids_from_coordinates(latitude, longitude)
        parts = {name: self.samples(root, block, window) for name, window in self.windows.items()}
        operator = self.settings.untrained()
        if isinstance(operator, SharingOperator):
            shared = read_shared(root, self.settings.name, self.operator_identity(root))
            operator = operator.with_shared(shared)
        fit = _fit_block(operator) if self.by_blocks else operator.fit
        operator = fit(*parts["training"], cell_ids=cell_ids, **self.static(root, block))
        scores = {name: scores_of(operator, *part) for name, part in parts.items()}
        if self.by_blocks:
            more: dict[str, Any] = {"reason": next(iter(operator.reasons.values()), None)}
            if self.settings.search_architectures and isinstance(operator, NeuralOperator):
                more["seconds"] = self._search(root, block, operator, parts, cell_ids)
            write_block(root, self.settings.name, operator, block, scores=scores, more=more)
            return np.full(block.cells, ledger.DONE, dtype="int8")
        self._require_usable(int(operator.usable.sum()), getattr(operator, "outcome", None), operator.reasons.values())
        write_operator(
            root,
            self.settings.name,
            operator,
            windows={name: _days(window) for name, window in self.windows.items()},
            scores=scores,
            latitude=latitude,
            longitude=longitude,
            configuration=self.settings.model_dump(mode="json"),
            replace=True,
        )
        return np.full(block.cells, ledger.DONE, dtype="int8")

    def finish(self, root: zarr.Group) -> None:
        """See `Stage.finish`: the operator is complete, if a cell could be trained."""
        name = self.settings.name
        if not self.by_blocks or not is_in_blocks(root, name) or is_complete_operator(root, name):
            return
        blocks = blocks_of_operator(root, name, len(ledger.blocks_of(self.cells, self.cells_per_block)))
        if not any(block["usable"] for block in blocks):
            path = operator_path(name)
            outcome = read_region(root, path, "outcome") if "outcome" in existing_group(root, path) else None
            self._require_usable(0, outcome, [block["reason"] for block in blocks if block["reason"]])
        if self.settings.search_architectures:
            self._finish_architectures(root, np.sum([block["seconds"] for block in blocks], axis=0))
        complete_operator(root, name, blocks)

    def _require_usable(self, usable: int, outcome: np.ndarray | None, reasons: Iterable[str]) -> None:
        """ConfigurationError if no cell is usable, with how many came to what, where the operator says so."""
        if not usable:
            counted = {} if outcome is None else outcome_counts(outcome)
            counts = f" ({', '.join(f'{words}: {number}' for words, number in counted.items())})" if counted else ""
            raise ConfigurationError(
                f"operator {self.settings.name}: no cell could be trained{counts}; first reason: "
                f"{next(iter(reasons), 'none is known')}"
            )

    @property
    def _architectures(self) -> str:
        """Group of the architectures of the paper."""
        return f"scores/architectures_{self.settings.name}"

    def _create_architectures(self, root: zarr.Group) -> None:
        unit = {"unit": registry.variable(self.settings.observations[0]).unit}
        of_cells, of_all = ("architecture", "cell"), ("architecture",)
        test = {} if self.settings.test is None else {"test_rmsd": ArraySpec(of_cells, "float64")}
        create_template(
            root,
            self._architectures,
            {
                "training_rmsd": ArraySpec(of_cells, "float64", attributes=unit),
                "seconds": ArraySpec(of_all, "float64"),
                "layers": ArraySpec(of_all, "int64"),
                "neurons": ArraySpec(of_all, "int64"),
                **test,
            },
            coordinates={
                "architecture": (of_all, np.arange(len(ARCHITECTURES))),
                "cell": (("cell",), np.arange(self.cells)),
            },
            chunks={"cell": self.cells_per_block},
            attributes={
                "labels": [_label(hidden) for hidden in ARCHITECTURES],
                "chosen": _label(self.settings.neural.hidden),
                "complete": False,
            },
        )
        sizes = {
            "layers": np.array([len(hidden) for hidden in ARCHITECTURES]),
            "neurons": np.array([hidden[0] for hidden in ARCHITECTURES]),
        }
        write_region(root, self._architectures, sizes, {})

    def _search(
        self,
        root: zarr.Group,
        block: Block,
        operator: NeuralOperator,
        parts: Mapping[str, Samples],
        cell_ids: np.ndarray,
    ) -> list[float]:
        """Trains the architectures in the cells of a block and writes their scores; seconds that each took."""
        if not np.isfinite(parts["training"].target).any():
            return [0.0] * len(ARCHITECTURES)
        results = search_architectures(
            *parts["training"], operator=operator, test=parts.get("test"), cell_ids=cell_ids, workers=1
        )
        found = {"training_rmsd": np.stack([result.training_rmsd for result in results])}
        if "test" in parts:
            found["test_rmsd"] = np.stack([np.asarray(result.test_rmsd) for result in results])
        write_region(root, self._architectures, found, {"cell": block.region})
        return [result.seconds for result in results]

    def _finish_architectures(self, root: zarr.Group, seconds: np.ndarray) -> None:
        """The seconds of all blocks, and the group is complete."""
        write_region(root, self._architectures, {"seconds": seconds}, {})
        existing_group(root, self._architectures).attrs.update({"complete": True})

    def memory_bytes(self, cells: int) -> int:
        """Samples of both windows, a few times over, and the library that trains networks."""
        days = (self.settings.training.end - self.settings.training.start).days + 1
        if self.settings.test is not None:
            days += (self.settings.test.end - self.settings.test.start).days + 1
        samples = cells * days * (len(self.settings.predictor_names) + len(self.settings.observations)) * 8 * 6
        return samples + (TENSORFLOW_BYTES if self.settings.kind in ("neural", "pooled") else 0)


def _label(hidden: Sequence[int]) -> str:
    """A shape in short, such as 40 or 20x20."""
    return "x".join(str(neurons) for neurons in hidden)


def _days(window: WindowConfig) -> tuple[str, str]:
    return str(window.start), str(window.end)
