"""Training of operators from tables: what `ldas train` does, and the pieces that the training stage shares with it."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ldas.landmodel.array_types import Array, IntArray
from ldas.operators.architecture import ARCHITECTURES, ArchitectureResult, search_architectures
from ldas.operators.cells import cell_ids_from_coordinates
from ldas.operators.errors import EmptyTrainingWindowError
from ldas.operators.joint import JointOperator
from ldas.operators.keras_file import export_keras
from ldas.operators.neural import NeuralOperator
from ldas.operators.options import NeuralOptions
from ldas.operators.outcome import Outcome
from ldas.operators.protocol import DEFAULT_PREDICTORS, Names, ObservationOperator
from ldas.operators.scores import scores_of
from ldas.operators.sensitivity import Sensitivity, predictor_sensitivity
from ldas.pipeline.store.arrays import open_store
from ldas.pipeline.store.icechunk_store import refuse_versions
from ldas.pipeline.store.lease import held
from ldas.pipeline.store.location import as_location
from ldas.pipeline.store.operator_store import write_operator
from ldas.pipeline.store.provenance import file_checksum
from ldas.pipeline.tables.table import (
    TrainingTable,
    TrainingTableError,
    Window,
    parse_window,
    predictor_units,
    read_training_table,
)

Aggregation = Literal["daily", "overpass"]
Progress = Callable[[int, int], None]


class Samples(NamedTuple):
    """Samples of cells side by side: predictors (cell, sample, predictor), target (cell, sample), or (cell, sample,
    target) of several; NaN at ends."""

    predictors: Array
    target: Array


@dataclass(frozen=True)
class RegionSamples:
    """Training and test samples of cells, with their places and notes about them."""

    cell_ids: IntArray
    latitude: Array
    longitude: Array
    files: tuple[Path, ...]
    notes: tuple[tuple[str, ...], ...]
    training: Samples
    test: Samples


@dataclass(frozen=True)
class TrainingReport:
    """What a training gave: a row per cell and target with scores over seeds, the first seed's operator, its hash."""

    rows: list[dict[str, Any]]
    seconds: float
    content_hash: str | None
    operator: NeuralOperator

    def to_json(self) -> dict[str, Any]:
        """Plain numbers for `--json`."""
        return {"cells": self.rows, "seconds": self.seconds, "content_hash": self.content_hash}

    def to_text(self) -> str:
        """The table as Markdown."""
        several = len({row["target"] for row in self.rows}) > 1
        unit = "" if several else f" ({self.operator.output_unit})"
        names = ["cell", *(["target"] if several else []), "outcome", "training", "test", "R test"]
        names += [f"RMSD test{unit}", f"ridge RMSD{unit}"]
        lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
        for row in self.rows:
            line = [
                f"{row['latitude']:.3f} {row['longitude']:.3f}",
                *([f"{row['target']} ({row['unit']})"] if several else []),
                *(str(row[name]) for name in ("outcome", "training_samples", "test_samples")),
                *(f"{row[f'test_{of}_mean']:.3f} +- {row[f'test_{of}_std']:.3f}" for of in ("correlation", "rmsd")),
                f"{row['ridge_test_rmsd']:.3f}",
            ]
            lines.append(f"| {' | '.join(line)} |")
        notes = dict.fromkeys(
            f"{row['latitude']:.3f} {row['longitude']:.3f}: {note}" for row in self.rows for note in row["notes"]
        )
        return "\n".join(lines) + ("\n\n" + "\n".join(notes) if notes else "")


def run_training_command(
    tables: Sequence[Path | str],
    *,
    train: str = "2007-2013",
    test: str = "2014-2016",
    predictors: Sequence[str] = DEFAULT_PREDICTORS,
    targets: Sequence[str] = ("sigma40",),
    aggregation: Aggregation = "daily",
    options: NeuralOptions | None = None,
    seeds: int = 1,
    store: str | Path | None = None,
    name: str = "sigma40",
    replace_stored: bool = False,
    keras_folder: str | Path | None = None,
    json_file: str | Path | None = None,
    progress: Progress | None = None,
) -> TrainingReport:
    """`ldas train --table FILE ...`: trains one network per table, scores it, stores it, writes the figures.

    Args:
        tables: NetCDF files, one cell each (see `read_training_table`).
        train, test: windows (see `parse_window`).
        targets: observations that are columns of the tables; several are outputs of one network per table.
        aggregation: "daily" means or single "overpass"es.
        seeds: how many trainings with consecutive seeds are scored; the first one is stored.
        store, name: where and under what name (nothing is stored without).
        keras_folder: a `.keras` file per cell.
        json_file: the figures.
        progress: called with (trainings done, trainings).

    Raises:
        TrainingTableError: before anything is written.
        OperatorError: before anything is written.
        StoreError: if the store refuses.
    """
    started = time.perf_counter()
    where = None if store is None else as_location(store)
    if where is not None:
        refuse_versions(where)
    options = options or NeuralOptions()
    untrained = _untrained(options, predictors, targets)
    windows = {"training": parse_window(train), "test": parse_window(test)}
    if seeds < 1:
        raise TrainingTableError(f"at least one seed is needed, got {seeds}")
    names = Names(untrained.predictor_names, untrained.predictor_units, targets[0], predictor_units(targets[:1])[0])
    more = tuple(zip(targets[1:], predictor_units(targets[1:]), strict=True))
    samples = read_region_samples(tables, names, windows["training"], windows["test"], aggregation, more)
    trained: list[NeuralOperator] = []
    digest = None
    with held(where, f"the training of {name}") if where is not None else nullcontext():
        for number in range(seeds):
            operator = _untrained(replace(options, seed=options.seed + number), predictors, targets)
            trained.append(operator.fit(*samples.training, cell_ids=samples.cell_ids))
            if progress is not None:
                progress(number + 1, seeds)
        first = trained[0]
        if not first.usable.any():
            raise TrainingTableError("no cell could be trained: " + "; ".join(_reasons(first, samples)))
        scores = {"training": scores_of(first, *samples.training), "test": scores_of(first, *samples.test)}
        if where is not None:
            digest = write_operator(
                open_store(where, "a"),
                name,
                first,
                windows={window: span.as_text() for window, span in windows.items()},
                scores=scores,
                latitude=samples.latitude,
                longitude=samples.longitude,
                configuration={
                    "train": train,
                    "test": test,
                    "aggregation": aggregation,
                    **({"observation": list(targets)} if len(targets) > 1 else {}),
                    "options": asdict(options),
                },
                inputs={file.name: file_checksum(file) for file in samples.files},
                notes=[
                    f"{file.name}: {note}"
                    for file, notes in zip(samples.files, samples.notes, strict=True)
                    for note in notes
                ],
                replace=replace_stored,
            )
    if keras_folder is not None:
        export_all(first, keras_folder)
    report = TrainingReport(_rows(trained, samples, aggregation), time.perf_counter() - started, digest, first)
    if json_file is not None:
        write_json(json_file, report.to_json())
    return report


def _untrained(options: NeuralOptions, predictors: Sequence[str], targets: Sequence[str]) -> NeuralOperator:
    """The network of one target, or of several together, still to be trained."""
    known = {"predictor_names": tuple(predictors), "predictor_units": predictor_units(predictors)}
    units = predictor_units(targets)
    if len(targets) == 1:
        return NeuralOperator(options, **known, output_name=targets[0], output_unit=units[0])
    return JointOperator(options, **known, output_names=targets, output_units=units)


def run_architecture_command(
    tables: Sequence[Path | str],
    *,
    train: str = "2007-2013",
    test: str = "2014-2016",
    predictors: Sequence[str] = DEFAULT_PREDICTORS,
    aggregation: Aggregation = "daily",
    options: NeuralOptions | None = None,
    architectures: Sequence[tuple[int, ...]] = ARCHITECTURES,
    figure_file: str | Path | None = None,
    json_file: str | Path | None = None,
    progress: Progress | None = None,
) -> list[ArchitectureResult]:
    """The architecture search of Figure 2 on tables, with its box plot. Arguments as in `run_training_command`."""
    names = Names(tuple(predictors), predictor_units(predictors), "sigma40", "dB")
    samples = read_region_samples(tables, names, parse_window(train), parse_window(test), aggregation)
    results = search_architectures(
        *samples.training,
        operator=NeuralOperator(options, **names._asdict()),
        architectures=architectures,
        test=samples.test,
        cell_ids=samples.cell_ids,
        progress=progress,
    )
    if json_file is not None:
        write_json(json_file, {"architectures": [architecture_summary(result) for result in results]})
    if figure_file is not None:
        from ldas.pipeline.tables.figures import plot_architectures

        plot_architectures(results, figure_file)
    return results


def run_sensitivity_command(
    tables: Sequence[Path | str],
    operator: ObservationOperator,
    *,
    period: str = "2007-2013",
    aggregation: Aggregation = "daily",
    json_file: str | Path | None = None,
) -> Sensitivity:
    """Predictor sensitivity (Figure 3) of a trained operator on tables, one cell a table in the operator's order."""
    names = Names(operator.predictor_names, operator.predictor_units, operator.output_name, operator.output_unit)
    window = parse_window(period)
    samples = read_region_samples(tables, names, window, window, aggregation)
    found = predictor_sensitivity(operator, *samples.training)
    if json_file is not None:
        content = {field: np.asarray(value).tolist() for field, value in found._asdict().items()}
        write_json(json_file, content)
    return found


def read_region_samples(
    tables: Sequence[Path | str],
    names: Names,
    training: Window,
    test: Window,
    aggregation: Aggregation,
    more: Sequence[tuple[str, str]] = (),
) -> RegionSamples:
    """Reads tables, one cell each, and splits them by windows. more: further targets, as in `read_training_table`.

    Raises:
        EmptyTrainingWindowError: if no cell has a sample in the training window; names the tables' periods.
    """
    if not tables:
        raise TrainingTableError("no table was given: name at least one NetCDF file")
    if aggregation not in ("daily", "overpass"):
        raise TrainingTableError(f"aggregation must be 'daily' or 'overpass', got {aggregation!r}")
    read = [read_training_table(path, names, more) for path in tables]
    if aggregation == "daily":
        read = [table.daily_means() for table in read]
    split = [[table.part(window) for table in read] for window in (training, test)]
    if not any(table.target.size for table in split[0]):
        periods = "; ".join(f"{table.path.name}: {_period(table)}" for table in read)
        raise EmptyTrainingWindowError(
            f"no table has a sample in the training window {training.first} to {training.last} ({periods}): "
            "choose a window inside the data"
        )
    latitude = np.array([table.latitude for table in read])
    longitude = np.array([table.longitude for table in read])
    return RegionSamples(
        cell_ids=cell_ids_from_coordinates(latitude, longitude),
        latitude=latitude,
        longitude=longitude,
        files=tuple(table.path for table in read),
        notes=tuple(table.notes for table in read),
        training=_side_by_side(split[0]),
        test=_side_by_side(split[1]),
    )


def ridge_rmsd(training: Samples, test: Samples, penalty: float = 1.0) -> Array:
    """(cell,) test RMSD of ridge regression on z-scored predictors: the linear operator a network has to beat."""
    errors = np.full(training.target.shape[0], np.nan)
    for cell, (x, y) in enumerate(zip(training.predictors, training.target, strict=True)):
        valid, valid_test = ~np.isnan(y), ~np.isnan(test.target[cell])
        if valid.sum() < 2 or not valid_test.any():
            continue
        mean, std = x[valid].mean(axis=0), x[valid].std(axis=0)
        # A constant predictor carries nothing: dividing by 1 leaves it at 0.
        std = np.where(std > 0.0, std, 1.0)
        scaled = (x[valid] - mean) / std
        matrix = scaled.T @ scaled + penalty * np.eye(scaled.shape[1])
        slope = np.linalg.solve(matrix, scaled.T @ (y[valid] - y[valid].mean()))
        predicted = y[valid].mean() + (test.predictors[cell, valid_test] - mean) / std @ slope
        errors[cell] = np.sqrt(np.mean((predicted - test.target[cell, valid_test]) ** 2))
    return errors


def export_all(operator: NeuralOperator, folder: str | Path) -> list[Path]:
    """One `.keras` file per trained cell, named after the cell's identity."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    files = []
    for cell in operator.cell_ids[operator.usable]:
        file = target / f"{operator.output_name.replace(', ', '_')}_{int(cell)}.keras"
        export_keras(operator, int(cell), file)
        files.append(file)
    return files


def architecture_summary(result: ArchitectureResult) -> dict[str, Any]:
    """Quartiles over cells of one architecture, for `--json`."""

    def quartiles(values: Array | None) -> list[float] | None:
        if values is None or np.isnan(values).all():
            return None
        return [float(part) for part in np.nanquantile(values, [0.0, 0.25, 0.5, 0.75, 1.0])]

    return {
        "hidden": list(result.hidden),
        "training_rmsd_quartiles": quartiles(result.training_rmsd),
        "test_rmsd_quartiles": quartiles(result.test_rmsd),
        "seconds": result.seconds,
    }


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Figures for machines; NaN becomes null, which every reader of JSON knows."""
    Path(path).write_text(json.dumps(_without_nan(content), indent=2) + "\n", encoding="utf-8")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _side_by_side(tables: Sequence[TrainingTable]) -> Samples:
    """Samples of tables of different lengths as one array; the ends are filled with NaN, which are no samples."""
    length = max(table.times.size for table in tables)
    count = tables[0].predictors.shape[1]
    predictors = np.full((len(tables), length, count), np.nan)
    target = np.full((len(tables), length, *tables[0].target.shape[1:]), np.nan)
    for cell, table in enumerate(tables):
        predictors[cell, : table.times.size] = table.predictors
        target[cell, : table.times.size] = table.target
    return Samples(predictors, target)


def _period(table: TrainingTable) -> str:
    return f"{table.times[0]} to {table.times[-1]}" if table.times.size else "no complete row"


def _reasons(operator: NeuralOperator, samples: RegionSamples) -> list[str]:
    names = {int(cell): file.name for cell, file in zip(samples.cell_ids, samples.files, strict=True)}
    return [f"{names[cell]}: {reason}" for cell, reason in operator.reasons.items()]


def _rows(trained: Sequence[NeuralOperator], samples: RegionSamples, aggregation: str) -> list[dict[str, Any]]:
    """One row per cell and target: samples, outcome, and mean and spread of the test scores over the seeds."""
    first = trained[0]
    names: tuple[str, ...] = (first.output_name,)
    units: tuple[str, ...] = (first.output_unit,)
    if isinstance(first, JointOperator):
        names, units = first.output_names, first.output_units
    of_target = [_rows_of_target(trained, samples, place, len(names)) for place in range(len(names))]
    return [
        {
            "file": samples.files[cell].name,
            "cell_id": int(samples.cell_ids[cell]),
            "latitude": float(samples.latitude[cell]),
            "longitude": float(samples.longitude[cell]),
            "target": name,
            "unit": unit,
            "aggregation": aggregation,
            "outcome": Outcome(int(first.outcome[cell])).words,
            "reason": first.reasons.get(int(samples.cell_ids[cell]), ""),
            "notes": list(samples.notes[cell]),
            "seeds": len(trained),
            **rows[cell],
        }
        for cell in range(samples.cell_ids.size)
        for name, unit, rows in zip(names, units, of_target, strict=True)
    ]


def _rows_of_target(
    trained: Sequence[NeuralOperator], samples: RegionSamples, place: int, targets: int
) -> list[dict[str, Any]]:
    """What the rows of each cell say of one of the targets."""

    def of_target(values: Array) -> Array:
        return values[..., place] if targets > 1 else values

    test = [scores_of(operator, *samples.test) for operator in trained]
    rmsd, correlation, bias = (
        np.stack([of_target(getattr(each, name)) for each in test]) for name in ("rmsd", "correlation", "bias")
    )
    training_rmsd = np.stack([of_target(scores_of(operator, *samples.training).rmsd) for operator in trained])
    parts = [Samples(part.predictors, of_target(part.target)) for part in (samples.training, samples.test)]
    ridge = ridge_rmsd(parts[0], parts[1])
    return [
        {
            "training_samples": int((~np.isnan(parts[0].target[cell])).sum()),
            "test_samples": int((~np.isnan(parts[1].target[cell])).sum()),
            "training_rmsd_mean": float(training_rmsd[:, cell].mean()),
            "test_rmsd_mean": float(rmsd[:, cell].mean()),
            "test_rmsd_std": float(rmsd[:, cell].std()),
            "test_correlation_mean": float(correlation[:, cell].mean()),
            "test_correlation_std": float(correlation[:, cell].std()),
            "test_bias_mean": float(bias[:, cell].mean()),
            "ridge_test_rmsd": float(ridge[cell]),
        }
        for cell in range(samples.cell_ids.size)
    ]
