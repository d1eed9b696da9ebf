"""Training of the observation operators: from the open loop and observations to networks in the store."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import xarray as xr
import zarr

from ldas.operators.architecture import search_architectures
from ldas.operators.cells import cell_ids_from_coordinates
from ldas.operators.neural import NeuralOperator
from ldas.operators.outcome import outcome_counts
from ldas.operators.protocol import ObservationOperator
from ldas.operators.scores import predict_where_observed, score
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.settings.assimilation import OperatorConfig, WindowConfig, state_name
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.labels import instants
from ldas.pipeline.stages.land import read_land
from ldas.pipeline.stages.observations import (
    days_of_group,
    good_values,
    interpolated_in_time,
    overpasses_a_day,
    read_observations,
    require_hours,
    values_of_windows,
)
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import existing_group, has_group, read_region
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.operator_store import write_operator


class Samples(NamedTuple):
    """Training pairs: predictors (cell, day or overpass, predictor) and target (cell, day or overpass), NaN where
    missing."""

    predictors: np.ndarray
    target: np.ndarray


def training_stage(operator: str) -> str:
    """Name of the stage that trains an operator."""
    return f"train-{operator}"


@dataclass(frozen=True)
class Train(Stage):
    """Trains one operator for all cells, in blocks of the size that belongs to its options. One task."""

    config: ExperimentConfig
    settings: OperatorConfig
    growing_keys: ClassVar[tuple[str, ...]] = ("open_loop.period.end",)

    def periods(self) -> Sequence[Period]:
        """One: the training window."""
        window = self.settings.training
        return [Period(0, np.datetime64(window.start, "s"), np.datetime64(window.end, "s"), slice(0, 1))]

    @property
    def needs(self) -> Collection[str]:
        """See `Stage.needs`: the states that the observations are paired with."""
        return (self.config.open_loop.name,)

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
        """Nothing: the operator's group is written when it is trained."""

    def extend(self, root: zarr.Group, old_periods: Sequence[Sequence[str]]) -> None:
        """Nothing: an open loop that is extended does not change the training window."""

    def samples(self, root: zarr.Group, window: WindowConfig) -> Samples:
        """Pairs of a window: open-loop soil moisture and temperature at the analysis hour, LAI, and the observation of
        the same 24 h window; or each overpass with the states at its own time."""
        path = f"runs/{self.config.open_loop.name}"
        days = read_region(root, path, "time").astype("datetime64[D]")
        chosen = (days >= np.datetime64(window.start)) & (days <= np.datetime64(window.end))
        if not chosen.any():
            raise ConfigurationError(
                f"operator {self.settings.name}: no day of the open loop ({days[0]} to {days[-1]}) lies in the window "
                f"{window.start} to {window.end}"
            )
        region = {"time": slice(int(chosen.argmax()), int(len(chosen) - chosen[::-1].argmax()))}
        names = self.settings.predictor_names
        missing = [name for name in names if name not in self.config.output.instant]
        if missing:
            raise ConfigurationError(f"operator {self.settings.name}: add {', '.join(missing)} to output.instant")
        if self.settings.time_matching == "overpass":
            return self._of_overpasses(root, days[chosen], region)
        hour = self.config.model.analysis_hour_utc
        end_of_window = instants(days[chosen], hour)
        model = {name: np.asarray(read_region(root, path, name, region), dtype=np.float64) for name in names}
        block = Block(0, 0, self.cells)
        if self.settings.observed_lai is not None:
            times, arrays = read_observations(root, self.settings.observed_lai, block)
            model["LAI"] = interpolated_in_time(times, good_values(arrays), end_of_window)
        times, arrays = read_observations(root, self.settings.observation, block)
        target = values_of_windows(times, good_values(arrays), end_of_window, hour)
        predictors = np.stack([model[name] for name in names], axis=-1)
        target[~np.isfinite(predictors).all(axis=-1)] = np.nan
        return Samples(np.swapaxes(predictors, 0, 1), target.T)

    def _of_overpasses(self, root: zarr.Group, days: np.ndarray, region: Mapping[str, slice]) -> Samples:
        """Each overpass of these days with the open loop's states of the model step nearest to it."""
        observation, path = self.settings.observation, f"runs/{self.config.open_loop.name}"
        block = Block(0, 0, self.cells)
        require_hours(root, observation)
        times, arrays = read_observations(root, observation, block)
        overpasses = overpasses_a_day(root, observation) or 0
        rows = (days_of_group(root, f"observations/{observation}").astype("datetime64[D]") - days[0]).astype(np.int64)
        inside = (rows >= 0) & (rows < len(days))

        def by_day(values: np.ndarray, nothing: Any) -> np.ndarray:
            """(day, overpass, cell) of these days, from what the group holds one after the other."""
            placed = np.full((len(days), overpasses, self.cells), nothing)
            placed[rows[inside]] = values.reshape(-1, overpasses, self.cells)[inside]
            return placed.reshape(-1, self.cells)

        names = self.settings.predictor_names
        model = {}
        for name in names:
            stored = read_region(root, path, state_name(name, observation), region)[:, :overpasses]
            model[name] = np.asarray(stored, dtype=np.float64).reshape(-1, self.cells)
        target, at = by_day(good_values(arrays), np.nan), by_day(times, np.datetime64("NaT", "s"))
        lost = np.isnan(read_region(root, path, names[0], region)).repeat(overpasses, axis=0)
        late = int((np.isfinite(target) & ~np.isfinite(model[names[0]]) & ~lost).sum())
        if late:
            raise ConfigurationError(
                f"operator {self.settings.name}: {late} overpasses of {observation} have no state of the open loop, "
                "which ran before they were ingested: run it with these observations, in another store"
            )
        if self.settings.observed_lai is not None:
            lai_times, lai = read_observations(root, self.settings.observed_lai, block)
            model["LAI"] = interpolated_in_time(lai_times, good_values(lai), at)
        predictors = np.stack([model[name] for name in names], axis=-1)
        target[~np.isfinite(predictors).all(axis=-1)] = np.nan
        return Samples(np.swapaxes(predictors, 0, 1), target.T)

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`."""
        latitude, longitude = (read_land(root, name) for name in ("latitude", "longitude"))
        cell_ids = cell_ids_from_coordinates(latitude, longitude)
        training = self.samples(root, self.settings.training)
        windows = {"training": _days(self.settings.training)}
        operator = self.settings.untrained().fit(training.predictors, training.target, cell_ids=cell_ids)
        if not operator.usable.any():
            raise ConfigurationError(
                f"operator {self.settings.name}: no cell could be trained{_outcomes(operator)}; first reason: "
                f"{next(iter(operator.reasons.values()), 'none is known')}"
            )
        parts = {"training": training}
        if self.settings.test is not None:
            parts["test"] = self.samples(root, self.settings.test)
            windows["test"] = _days(self.settings.test)
        scores = {name: score(predict_where_observed(operator, *part), part.target) for name, part in parts.items()}
        write_operator(
            root,
            self.settings.name,
            operator,
            windows=windows,
            scores=scores,
            latitude=latitude,
            longitude=longitude,
            configuration=self.settings.model_dump(mode="json"),
            replace=True,
        )
        if self.settings.search_architectures and isinstance(operator, NeuralOperator):
            self._search(root, operator, parts, cell_ids)
        return np.full(block.cells, ledger.DONE, dtype="int8")

    def _search(
        self, root: zarr.Group, operator: NeuralOperator, parts: Mapping[str, Samples], cell_ids: np.ndarray
    ) -> None:
        """The architectures of the paper, into `scores/architectures_<operator>`."""
        test = (parts["test"].predictors, parts["test"].target) if "test" in parts else None
        results = search_architectures(*parts["training"], operator=operator, test=test, cell_ids=cell_ids)
        labels = [_label(result.hidden) for result in results]
        dataset = xr.Dataset(
            {
                "training_rmsd": (("architecture", "cell"), np.stack([result.training_rmsd for result in results])),
                "seconds": (("architecture",), np.array([result.seconds for result in results])),
                "layers": (("architecture",), np.array([len(result.hidden) for result in results])),
                "neurons": (("architecture",), np.array([result.hidden[0] for result in results])),
            }
        )
        if test is not None:
            dataset["test_rmsd"] = (("architecture", "cell"), np.stack([np.asarray(r.test_rmsd) for r in results]))
        dataset["training_rmsd"].attrs["unit"] = operator.output_unit
        path = f"scores/architectures_{self.settings.name}"
        if has_group(root, path):  # of a run that was killed before the ledger had this task as done
            existing_group(root, path).attrs["complete"] = False
        write_group(root, path, dataset, attributes={"labels": labels, "chosen": _label(self.settings.neural.hidden)})

    def memory_bytes(self, cells: int) -> int:
        """Samples of both windows, a few times over."""
        days = (self.settings.training.end - self.settings.training.start).days + 1
        if self.settings.test is not None:
            days += (self.settings.test.end - self.settings.test.start).days + 1
        return cells * days * (len(self.settings.predictor_names) + 1) * 8 * 6


def _outcomes(operator: ObservationOperator) -> str:
    """How many cells came to what, of an operator that says so."""
    outcome = getattr(operator, "outcome", None)
    return "" if outcome is None else f": {outcome_counts(outcome)}"


def _label(hidden: Sequence[int]) -> str:
    """A shape in short, such as 40 or 20x20."""
    return "x".join(str(neurons) for neurons in hidden)


def _days(window: WindowConfig) -> tuple[str, str]:
    return str(window.start), str(window.end)
