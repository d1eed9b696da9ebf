"""The analysis step of the simplified EKF on real observations with stored model states: what `ldas analyse` does.

A table has the states of a model run at a satellite's overpasses, but nothing to run the model with. So there is no
model between the start and the end of a window: LAI and WG2 are taken to respond to themselves alone (identity), the
stored states are the background of every window whatever the analyses before it, and the grid cell is one patch. What
remains is the filter's own: the trained network and its derivative, B, R, gain, increments, limits and diagnostics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ldas.assim import ObservationError, SEKFConfiguration, sekf_analysis
from ldas.assim.controls import (
    LARGEST_LAI_INCREMENT,
    LARGEST_SOIL_MOISTURE_INCREMENT,
    MINIMUM_LAI,
    MINIMUM_SOIL_MOISTURE,
)
from ldas.assim.diagnostics import (
    chi_square_ratio,
    desroziers,
    estimated_error,
    innovation_statistics,
    mean_degrees_of_freedom,
)
from ldas.assim.masks import MELTING_POINT
from ldas.landmodel.array_types import Array, BoolArray
from ldas.landmodel.soil_properties import hydraulic_properties
from ldas.operators.options import NeuralOptions
from ldas.operators.protocol import DEFAULT_PREDICTORS, Names, ObservationOperator
from ldas.pipeline.tables.table import (
    TrainingTable,
    TrainingTableError,
    parse_window,
    predictor_units,
    read_training_table,
)
from ldas.pipeline.tables.train import run_training_command, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONTROLS = ("LAI", "WG2")
SEASONS = ("DJF", "MAM", "JJA", "SON")
STATEMENT = (
    "No land model runs between the windows: LAI and WG2 respond to themselves alone (identity), the stored states are "
    "the background of every window, and the cell is one patch. Increments are not carried into the next window."
)


class AnalysisSteps(NamedTuple):
    """Analyses of one cell, one a window: days (window,); innovation y - Y, residual y - h(x_a), linear_residual
    d - H dx, background_variance H B H^T, degrees_of_freedom, chi_square: (window,) in dB or dB2; slope
    (window, predictor), the network's derivative; increment (window, control) after limits; limited (window, control),
    where a limit acted.
    """

    days: NDArray[np.datetime64]
    innovation: Array
    residual: Array
    linear_residual: Array
    background_variance: Array
    degrees_of_freedom: Array
    chi_square: Array
    slope: Array
    increment: Array
    limited: BoolArray


@dataclass(frozen=True)
class AnalysisReport:
    """What the analyses of all tables gave: figures per cell, and the steps they were made from."""

    cells: list[dict[str, Any]]
    steps: list[AnalysisSteps]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers for `--json`."""
        return {"statement": STATEMENT, "cells": self.cells}

    def to_text(self) -> str:
        """Tables as Markdown, one of each kind with all cells."""
        tables = {
            "Innovations and residuals (dB)": _innovation_rows,
            "Derivative of the network by season: mean (10 %, 90 %), part that is positive": _jacobian_rows,
            "Increments": _increment_rows,
            "Consistency (dB2; Desroziers et al. 2005)": _consistency_rows,
        }
        parts = [STATEMENT, "\n".join(f"{_place(cell)}: {note}" for cell in self.cells for note in cell["notes"])]
        for title, rows_of in tables.items():
            rows = [row for cell in self.cells for row in rows_of(cell)]
            names = list(rows[0])
            lines = [names, ["---"] * len(names), *([row[name] for name in names] for row in rows)]
            parts.append(f"{title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
        return "\n\n".join(parts)


def run_analysis_command(
    tables: Sequence[Path | str],
    *,
    train: str = "2007-2013",
    test: str = "2014-2016",
    clay: float = 0.32,
    observation_error: float = 0.33,
    options: NeuralOptions | None = None,
    json_file: str | Path | None = None,
    figure_file: str | Path | None = None,
) -> AnalysisReport:
    """`ldas analyse --table FILE ...`: trains a network per table as `ldas train` does and analyses the test window.

    Args:
        tables, train, test, options: as in `run_training_command` (daily means).
        clay: fraction (0-1) of the soil, which scales the background error of WG2.
        observation_error: sigma_o in dB.
        json_file: the figures.
        figure_file: a PNG of innovations and derivatives.

    Raises:
        TrainingTableError: tables that cannot be used.
        OperatorError: tables that cannot be used.
        FilterConfigurationError: errors that are not positive.
    """
    error = ObservationError("absolute", observation_error)
    if not 0.0 < clay <= 1.0:
        raise TrainingTableError(f"clay is a fraction above 0 and up to 1, got {clay}; is it in percent?")
    trained = run_training_command(tables, train=train, test=test, options=options)
    window, names = parse_window(test), Names(DEFAULT_PREDICTORS, predictor_units(DEFAULT_PREDICTORS), "sigma40", "dB")
    cells, steps = [], []
    for position, path in enumerate(tables):
        table = read_training_table(path, names).daily_means().part(window)
        thawed = table.predictors[:, DEFAULT_PREDICTORS.index("TG2")] >= MELTING_POINT
        if not thawed.any() or not trained.operator.usable[position]:
            reason = trained.rows[position]["reason"] or (
                f"no observation over thawed soil from {window.first} to {window.last}"
            )
            raise TrainingTableError(f"{table.path} cannot be analysed: {reason}; leave it out or choose other years")
        step = analysis_steps(trained.operator.select([position]), table, thawed, clay, error)
        cells.append(_figures(step, table, trained.rows[position], int((~thawed).sum()), clay, observation_error))
        steps.append(step)
    report = AnalysisReport(cells, steps)
    if json_file is not None:
        write_json(json_file, report.to_json())
    if figure_file is not None:
        plot_analysis_steps(steps, [_place(cell) for cell in cells], figure_file)
    return report


def analysis_steps(
    operator: ObservationOperator, table: TrainingTable, used: BoolArray, clay: float, error: ObservationError
) -> AnalysisSteps:
    """Analyses the windows of a table of one cell that are `used` (window,); the windows are the filter's cell axis."""
    predictors, observation = table.predictors[used], table.target[used]
    windows = observation.size
    configuration = SEKFConfiguration(controls=CONTROLS)
    place = [DEFAULT_PREDICTORS.index(name) for name in CONTROLS]
    background = predictors[:, place]
    slope = operator.jacobian(predictors[None])[0]
    cofswi = sekf_analysis.dynamic_range(np.full((windows, 1), clay))

    H = slope[:, None, None, place]  # one patch that responds to itself alone: the derivative is the whole chain
    B = sekf_analysis.background_variance(
        lai=background[:, :1],
        soil_moisture_error=configuration.soil_moisture_sigma(cofswi),
        is_lai=np.array([name == "LAI" for name in CONTROLS]),
        present=np.ones((windows, 1, len(CONTROLS)), dtype=bool),
        lai_relative_error=configuration.lai_error,
    )
    R = error.sigma(observation, None, cofswi[:, 0])[:, None] ** 2
    d = (observation - operator.predict(predictors[None])[0])[:, None]
    analysis = sekf_analysis.analyse(H, B, R, d)
    wanted = analysis.increment[:, 0]
    increment = sekf_analysis.limit_increments(wanted, background, *_limits(background, clay))

    analysed = predictors.copy()
    analysed[:, place] += increment
    return AnalysisSteps(
        days=table.times[used].astype("datetime64[D]"),
        innovation=d[:, 0],
        residual=observation - operator.predict(analysed[None])[0],
        linear_residual=d[:, 0] - sekf_analysis.linear_change(H, increment[:, None, :])[:, 0],
        background_variance=analysis.background_variance[:, 0],
        degrees_of_freedom=analysis.degrees_of_freedom[:, 0],
        chi_square=analysis.chi_square,
        slope=slope,
        increment=increment,
        limited=increment != wanted,
    )


def _limits(background: Array, clay: float) -> tuple[Array, Array, Array]:
    """Lower and upper bounds (window, control) and largest increments (control,) of LAI and WG2."""
    # A cell's mean may lie below the minimum of its crops because of bare soil; the bound must not lift it.
    lowest_lai = np.minimum(background[:, 0], MINIMUM_LAI[6])
    lower = np.stack([lowest_lai, np.full(lowest_lai.shape, MINIMUM_SOIL_MOISTURE)], axis=-1)
    # The tables do not tell the sand: without any, porosity is the largest that the clay allows.
    porosity = float(hydraulic_properties(np.array(clay), np.array(0.0), "CH78")["porosity"])
    upper = np.broadcast_to([np.inf, porosity], lower.shape)
    return lower, upper, np.array([LARGEST_LAI_INCREMENT, LARGEST_SOIL_MOISTURE_INCREMENT])


def _figures(
    step: AnalysisSteps,
    table: TrainingTable,
    row: dict[str, Any],
    frozen: int,
    clay: float,
    observation_error: float,
) -> dict[str, Any]:
    """All figures of one cell, as plain numbers."""
    innovation, residual = step.innovation[:, None], step.residual[:, None]
    estimate = desroziers(innovation, step.linear_residual[:, None])
    one = np.ones(step.innovation.shape, dtype=np.int64)
    return {
        "file": table.path.name,
        "latitude": table.latitude,
        "longitude": table.longitude,
        "notes": [
            *table.notes,
            f"trained on {row['training_samples']} days, R {row['test_correlation_mean']:.3f} and RMSD "
            f"{row['test_rmsd_mean']:.3f} dB in the test window",
            f"clay {clay:g}, COFSWI {float(sekf_analysis.dynamic_range(np.array(clay))):.4f} m3 m-3",
        ],
        "first": str(step.days[0]),
        "last": str(step.days[-1]),
        "windows": int(step.days.size),
        "masked_frozen": frozen,
        "innovation": _statistics(innovation),
        "residual": _statistics(residual),
        "jacobian": {season: _season(step, season) for season in SEASONS},
        "increments": {
            name: {
                "mean": float(step.increment[:, control].mean()),
                "standard_deviation": float(step.increment[:, control].std()),
                "largest": float(np.abs(step.increment[:, control]).max()),
                "limited": int(step.limited[:, control].sum()),
            }
            for control, name in enumerate(CONTROLS)
        },
        "observation_variance": {"prescribed": observation_error**2, "estimated": float(estimate.observation[0])},
        "background_variance": {
            "prescribed": float(step.background_variance.mean()),
            "estimated": float(estimate.background[0]),
        },
        "chi_square": float(chi_square_ratio(step.chi_square[:, None], one[:, None])[0]),
        "degrees_of_freedom": float(
            mean_degrees_of_freedom(step.degrees_of_freedom[:, None], one[:, None].astype(bool))[0]
        ),
        "estimated_error": float(estimated_error(estimate, observation_error)[0]),
    }


def _statistics(values: Array) -> dict[str, float]:
    """Of one series (window, 1)."""
    return {name: float(part[0]) for name, part in innovation_statistics(values)._asdict().items()}


def _season(step: AnalysisSteps, season: str) -> dict[str, Any]:
    """Sign and size of the network's derivatives in a season."""
    months = step.days.astype("datetime64[M]").astype(np.int64) % 12 + 1
    slope = step.slope[months % 12 // 3 == SEASONS.index(season)]
    found: dict[str, Any] = {"windows": int(slope.shape[0])}
    for column, name in enumerate(DEFAULT_PREDICTORS):
        values = slope[:, column]
        if values.size:
            low, high = (float(part) for part in np.quantile(values, [0.1, 0.9]))
            found[name] = {
                "mean": float(values.mean()),
                "low": low,
                "high": high,
                "positive": float((values > 0).mean()),
            }
    return found


def _place(cell: dict[str, Any]) -> str:
    return f"{cell['latitude']:.3f} {cell['longitude']:.3f}"


def _innovation_rows(cell: dict[str, Any]) -> list[dict[str, str]]:
    rows = []
    for name in ("innovation", "residual"):
        found = cell[name]
        rows.append(
            {
                "cell": _place(cell),
                "what": name,
                "n": f"{found['number']:.0f}",
                "masked (frozen)": str(cell["masked_frozen"]),
                "mean": f"{found['mean']:.3f}",
                "standard deviation": f"{found['standard_deviation']:.3f}",
                "from one to the next": f"{found['lag_one_correlation']:.2f}",
            }
        )
    return rows


def _jacobian_rows(cell: dict[str, Any]) -> list[dict[str, str]]:
    units = {"WG2": "dB per m3 m-3", "TG2": "dB per K", "LAI": "dB per m2 m-2"}
    return [
        {"cell": _place(cell), "season": season, "n": str(found["windows"])}
        | {f"{name} ({unit})": _spread(found.get(name)) for name, unit in units.items()}
        for season, found in cell["jacobian"].items()
    ]


def _spread(found: dict[str, float] | None) -> str:
    if found is None:
        return "-"
    return f"{found['mean']:.3g} ({found['low']:.3g}, {found['high']:.3g}), {found['positive']:.0%}"


def _increment_rows(cell: dict[str, Any]) -> list[dict[str, str]]:
    units = {"LAI": "m2 m-2", "WG2": "m3 m-3"}
    return [
        {
            "cell": _place(cell),
            "control": f"{name} ({units[name]})",
            "mean": f"{found['mean']:.4f}",
            "standard deviation": f"{found['standard_deviation']:.4f}",
            "largest": f"{found['largest']:.3f}",
            "limited": str(found["limited"]),
        }
        for name, found in cell["increments"].items()
    ]


def _consistency_rows(cell: dict[str, Any]) -> list[dict[str, str]]:
    observation, background = cell["observation_variance"], cell["background_variance"]
    return [
        {
            "cell": _place(cell),
            "R prescribed": f"{observation['prescribed']:.3f}",
            "R estimated": f"{observation['estimated']:.3f}",
            "HBH^T prescribed": f"{background['prescribed']:.3f}",
            "HBH^T estimated": f"{background['estimated']:.3f}",
            "chi-square": f"{cell['chi_square']:.2f}",
            "degrees of freedom": f"{cell['degrees_of_freedom']:.2f}",
            "sigma_o within bounds (dB)": f"{cell['estimated_error']:.3f}",
        }
    ]


def plot_analysis_steps(steps: Sequence[AnalysisSteps], labels: Sequence[str], path: str | Path) -> "Figure":
    """A row per cell: innovations and residuals over time, and the derivatives to WG2 and LAI by day of the year."""
    from matplotlib.dates import AutoDateLocator
    from matplotlib.figure import Figure

    from ldas.pipeline.tables.figures import saved

    figure = Figure(figsize=(13.0, 3.4 * len(steps)), layout="constrained")
    grid = figure.subplots(len(steps), 3, squeeze=False, width_ratios=(2, 1, 1))
    for axes, step, label in zip(grid, steps, labels, strict=True):
        days = step.days.astype("datetime64[s]")
        for values, name, colour in ((step.innovation, "innovation", "0.6"), (step.residual, "residual", "tab:blue")):
            axes[0].plot(days, values, ".", color=colour, markersize=3, label=name)
        axes[0].xaxis.set_major_locator(AutoDateLocator(maxticks=7))
        axes[0].set_ylabel("sigma40 (dB)")
        axes[0].set_title(label)
        axes[0].legend(loc="upper left", ncols=2)
        day_of_year = (step.days - step.days.astype("datetime64[Y]")).astype(int) + 1
        for axis, column, unit in ((axes[1], 0, "WG2 (dB per m3 m-3)"), (axes[2], 2, "LAI (dB per m2 m-2)")):
            axis.plot(day_of_year, step.slope[:, column], ".", color="tab:green", markersize=3)
            axis.set_title(f"derivative to {unit}")
            axis.set_xlabel("day of the year")
        for axis in axes:
            axis.axhline(0.0, color="black", linewidth=0.8)
    return saved(figure, path)
