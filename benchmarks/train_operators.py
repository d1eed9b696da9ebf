"""Training of observation operators: all cells at once against one Keras model per cell, in the same run.

Synthetic region: 247 cells x 2,400 samples x 250 epochs, batches of 32 on both sides. Real cell: 2007-2013 against
2014-2016 on the table of 43.625N 0.875E where it is there (LDAS_SHARED or ../shared), 10 seeds against 10 plain Keras
models. Prediction: predict and jacobian of 10,000 cells x 9 members on one core. Times are those of the clock on the
wall, with processor time beside them: run it on a quiet machine.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# run as a script, the folder of this file comes first in the path: other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldas.operators.batched_training import import_tensorflow  # noqa: E402
from ldas.operators.neural import NeuralOperator  # noqa: E402
from ldas.operators.options import NeuralOptions  # noqa: E402
from ldas.operators.protocol import Names  # noqa: E402
from ldas.operators.samples import cell_samples  # noqa: E402
from ldas.operators.scores import score  # noqa: E402

SHARED = Path(os.environ.get("LDAS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
REAL_TABLE = SHARED / "data" / "ldas" / "isba_ascat_43.625N_0.875E_2007-2016.nc"
TEST_SAMPLES = 1000


def synthetic_region(cells: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictors (cell, sample, 3) and sigma40 (cell, sample) with a noise of 0.3 dB."""
    generator = np.random.default_rng(0)
    season = np.sin(np.arange(samples) * 2.0 * np.pi / 300.0)
    moisture = np.clip(0.26 - 0.07 * season + generator.normal(0.0, 0.04, (cells, samples)), 0.05, 0.5)
    temperature = 286.0 + 8.0 * season + generator.normal(0.0, 3.0, (cells, samples))
    leaf_area = np.clip(2.0 + 1.3 * season + generator.normal(0.0, 0.4, (cells, samples)), 0.3, 7.0)
    soil = generator.uniform(15.0, 30.0, (cells, 1)) * moisture
    sigma40 = -15.5 + soil * np.exp(-0.3 * leaf_area) + 0.6 * leaf_area + 0.01 * (temperature - 286.0)
    sigma40 += generator.normal(0.0, 0.3, sigma40.shape)
    return np.stack([moisture, temperature, leaf_area], axis=-1), sigma40


def fit_keras(
    x: np.ndarray, y: np.ndarray, options: NeuralOptions, seed: int
) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """A plain Keras model of one cell, as one would write it: its prediction function and the seconds of `fit`."""
    import_tensorflow()
    import keras

    keras.utils.set_random_seed(seed)
    mean, std, target_mean, target_std = x.mean(axis=0), x.std(axis=0), y.mean(), y.std()
    hidden = [keras.layers.Dense(neurons, activation="relu") for neurons in options.hidden]
    model = keras.Sequential([keras.Input((x.shape[1],)), *hidden, keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(options.learning_rate), loss="mse")
    started = time.perf_counter()
    model.fit(
        ((x - mean) / std).astype(np.float32),
        ((y - target_mean) / target_std).astype(np.float32),
        batch_size=options.batch_size,
        epochs=options.epochs,
        verbose=0,
    )
    seconds = time.perf_counter() - started

    def predict(values: np.ndarray) -> np.ndarray:
        scaled = ((values - mean) / std).astype(np.float32)
        return np.asarray(model.predict(scaled, verbose=0)[:, 0] * target_std + target_mean, dtype=np.float64)

    return predict, seconds


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def measure_region(cells: int, samples: int, options: NeuralOptions, keras_cells: int) -> dict[str, Any]:
    """All cells at once, then one Keras model per cell on the first few of them."""
    x, y = synthetic_region(cells, samples + TEST_SAMPLES)
    train, test = slice(0, samples), slice(samples, None)
    started = time.perf_counter()
    import_tensorflow()
    import_seconds = time.perf_counter() - started
    started, processor_started = time.perf_counter(), time.process_time()
    operator = NeuralOperator(options).fit(x[:, train], y[:, train])
    seconds, processor_seconds = time.perf_counter() - started, time.process_time() - processor_started
    memory = peak_memory_mb()
    ours = score(operator.predict(x[:, test]), y[:, test]).rmsd
    keras_seconds, keras_rmsd = [], []
    processor_started = time.process_time()
    for cell in range(keras_cells):
        predict, cell_seconds = fit_keras(x[cell, train], y[cell, train], options, cell)
        keras_seconds.append(cell_seconds)
        keras_rmsd.append(float(np.sqrt(np.mean((predict(x[cell, test]) - y[cell, test]) ** 2))))
    keras_processor_seconds = (time.process_time() - processor_started) / keras_cells
    per_cell = float(np.mean(keras_seconds))
    return {
        "cells": cells,
        "samples": samples,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "block_size": options.block_size,
        "seconds_import_tensorflow": import_seconds,
        "seconds_all_cells": seconds,
        "processor_seconds_all_cells": processor_seconds,
        "cells_per_second": cells / seconds,
        "keras_seconds_per_cell": per_cell,
        "keras_processor_seconds_per_cell": keras_processor_seconds,
        "ratio_to_keras_per_cell": per_cell / (seconds / cells),
        "peak_memory_mb": memory,
        "test_rmsd_all_cells_mean": float(ours.mean()),
        "test_rmsd_first_cells": [float(value) for value in ours[:keras_cells]],
        "keras_test_rmsd_first_cells": keras_rmsd,
    }


def measure_real_cell(options: NeuralOptions, seeds: int) -> dict[str, Any]:
    """Daily means of the real cell, trained 2007-2013, tested 2014-2016: our networks and plain Keras, `seeds` times.

    Keras gets the same training samples (without those our networks keep for validation), shape, batches and epochs.
    """
    from ldas.pipeline.tables.table import parse_window, read_training_table

    names = Names(("WG2", "TG2", "LAI"), ("m3 m-3", "K", "m2 m-2"), "sigma40", "dB")
    table = read_training_table(REAL_TABLE, names).daily_means()
    training, test = table.part(parse_window("2007-2013")), table.part(parse_window("2014-2016"))
    kept = cell_samples(
        training.predictors, training.target, names, options.validation_fraction, options.minimum_samples
    )
    predicted: dict[str, list[np.ndarray]] = {"operator": [], "keras": []}
    for seed in range(seeds):
        own = NeuralOptions(**{**options.__dict__, "seed": seed, "block_size": 1})
        operator = NeuralOperator(own).fit(training.predictors[None], training.target[None])
        predicted["operator"].append(operator.predict(test.predictors[None])[0])
        predict, _ = fit_keras(kept.predictors, kept.target, options, seed)
        predicted["keras"].append(predict(test.predictors))
    result: dict[str, Any] = {"seeds": seeds, "training_samples": kept.target.size, "test_samples": test.target.size}
    for who, series in predicted.items():
        scores = score(np.stack(series), np.tile(test.target, (seeds, 1)))
        result[who] = {
            "test_rmsd_mean": float(scores.rmsd.mean()),
            "test_rmsd_std": float(scores.rmsd.std()),
            "test_correlation_mean": float(scores.correlation.mean()),
            "test_correlation_std": float(scores.correlation.std()),
        }
    result["rmsd_ratio_to_keras"] = result["operator"]["test_rmsd_mean"] / result["keras"]["test_rmsd_mean"]
    return result


def measure_prediction(options: NeuralOptions, cells: int = 10_000, members: int = 9) -> dict[str, Any]:
    """Best of several runs of predict and jacobian, on one core, in milliseconds."""
    x, y = synthetic_region(8, 200)
    few = NeuralOperator(NeuralOptions(**{**options.__dict__, "epochs": 1, "block_size": 8})).fit(x, y)
    operator = few.select(np.arange(cells) % 8)
    predictors = np.array([0.25, 285.0, 2.0]) * np.random.default_rng(1).uniform(0.9, 1.1, (cells, members, 3))
    seconds, processor_seconds = [], []
    for _ in range(11):
        started, processor_started = time.perf_counter(), time.process_time()
        operator.predict(predictors)
        operator.jacobian(predictors)
        seconds.append(time.perf_counter() - started)
        processor_seconds.append(time.process_time() - processor_started)
    return {
        "cells": cells,
        "members": members,
        "predict_and_jacobian_ms": 1000.0 * min(seconds),
        "predict_and_jacobian_processor_ms": 1000.0 * min(processor_seconds),
    }


def main(given: list[str] | None = None) -> None:
    """Runs the measurements and prints them, or writes them with `--json FILE`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--cells", type=int, default=247)
    parser.add_argument("--samples", type=int, default=2400)
    parser.add_argument("--epochs", type=int, default=250)
    parser.add_argument("--keras-cells", type=int, default=2, help="cells trained with one Keras model each")
    parser.add_argument("--seeds", type=int, default=10, help="trainings of the real cell; 0 leaves it out")
    arguments = parser.parse_args(given)
    options = NeuralOptions(epochs=arguments.epochs, validation_fraction=0.0)
    figures = measure_region(arguments.cells, arguments.samples, options, arguments.keras_cells)
    figures["prediction"] = measure_prediction(options)
    if arguments.seeds and REAL_TABLE.exists():
        figures["real_cell"] = measure_real_cell(NeuralOptions(epochs=arguments.epochs), arguments.seeds)
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
