"""Figures about operators: box plots of the architecture search, maps of predictor sensitivity, learning curves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ldas.operators.architecture import ArchitectureResult
from ldas.operators.neural import NeuralOperator
from ldas.operators.sensitivity import Sensitivity

# The observation error of ASCAT sigma40 that the paper draws as a line (Corchia et al. 2023, Figure 2).
OBSERVATION_ERROR_DB = 0.33


def plot_architectures(
    results: Sequence[ArchitectureResult], path: str | Path, *, chosen: tuple[int, ...] = (40,)
) -> Figure:
    """Box plots (minimum, quartiles, maximum over cells) of the training RMSD, one layer left, two layers right."""
    depths = sorted({len(result.hidden) for result in results})
    figure = Figure(figsize=(4.8 * len(depths), 4.2), layout="constrained")
    axes = figure.subplots(1, len(depths), sharey=True, squeeze=False)[0]
    for axis, depth in zip(axes, depths, strict=True):
        shown = [result for result in results if len(result.hidden) == depth]
        boxes = [result.training_rmsd[np.isfinite(result.training_rmsd)] for result in shown]
        labels = [" x ".join(str(neurons) for neurons in result.hidden) for result in shown]
        axis.boxplot(boxes, whis=(0, 100), tick_labels=labels, medianprops={"color": "black"})
        for label, result in zip(axis.get_xticklabels(), shown, strict=True):
            label.set_fontweight("bold" if result.hidden == chosen else "normal")
        axis.axhline(OBSERVATION_ERROR_DB, color="red", linestyle="--", label=f"{OBSERVATION_ERROR_DB} dB")
        axis.set_xlabel("neurons")
        axis.set_title(f"{depth} hidden layer{'s' if depth > 1 else ''}")
    axes[0].set_ylabel("RMSD in training (dB)")
    axes[0].legend(loc="upper right")
    return saved(figure, path)


def plot_sensitivity(
    sensitivity: Sensitivity, latitude: ArrayLike, longitude: ArrayLike, path: str | Path, *, unit: str = "dB"
) -> Figure:
    """Maps of the RMSD that each predictor saves: cells as squares at latitude, longitude (cell,)."""
    count = len(sensitivity.predictor_names)
    figure = Figure(figsize=(4.6 * count, 4.0), layout="constrained")
    finite = sensitivity.difference[np.isfinite(sensitivity.difference)]
    # One colour scale for all maps, from no loss at all to the largest.
    highest = float(finite.max()) if finite.size and finite.max() > 0.0 else 1.0
    for index, axis in enumerate(figure.subplots(1, count, squeeze=False)[0]):
        points = axis.scatter(
            np.asarray(longitude),
            np.asarray(latitude),
            c=sensitivity.difference[:, index],
            marker="s",
            vmin=0.0,
            vmax=highest,
            cmap="viridis",
        )
        axis.set_title(f"{sensitivity.predictor_names[index]} held at its mean")
        axis.set_xlabel("longitude (degrees east)")
        axis.set_ylabel("latitude (degrees north)")
        figure.colorbar(points, ax=axis, label=f"RMSD difference ({unit})")
    return saved(figure, path)


def plot_learning_curves(operator: NeuralOperator, path: str | Path) -> Figure:
    """Median over cells and range between the quartiles of training and validation RMSD per epoch."""
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axis = figure.subplots()
    networks = operator.networks
    for curves, label in ((networks.training_rmsd, "training"), (networks.validation_rmsd, "validation")):
        # An epoch that no cell ran has no median.
        shown = np.isfinite(curves).any(axis=0)
        if not shown.any():
            continue
        epochs = np.flatnonzero(shown) + 1
        low, middle, high = np.nanquantile(curves[:, shown], [0.25, 0.5, 0.75], axis=0)
        axis.plot(epochs, middle, label=label)
        axis.fill_between(epochs, low, high, alpha=0.25)
    axis.set_xlabel("epoch")
    axis.set_ylabel(f"RMSD ({operator.output_unit})")
    axis.legend()
    return saved(figure, path)


def saved(figure: Figure, path: str | Path) -> Figure:
    """The figure, written to a file."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=150)
    return figure
