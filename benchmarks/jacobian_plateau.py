"""Does the Jacobian of the SEKF depend on the size of its perturbations? Table and figure of docs/assimilation.md.

A C3 crop of ISBA on the formula weather of `ldas.pipeline.forcing.analytic` (no data needed), run freely from January
to 1 June 09 UTC; then the Jacobian of that day's window, WG2 and LAI to all eight controls, by forward and by central
differences with perturbations of `factor` times the default ones. Departures are from the central differences at
REFERENCE times the default, in the middle of the plateau, relative to the largest element of the row.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# run as a script, the folder of this file comes first in the path: other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldas import landmodel  # noqa: E402
from ldas.assim import ObservationError, ObservationType, SEKFConfiguration, SimplifiedEKF, Window  # noqa: E402
from ldas.operators.direct import DirectOperator  # noqa: E402
from ldas.pipeline.forcing.analytic import LATITUDE, LONGITUDE, START, STEP_S, analytic_forcing  # noqa: E402

REFERENCE = 0.01
PLATEAU = 1e-3  # below this departure the size does not matter: it is far less than any error of B or R
HOUR = 9
DAYS_BEFORE = 151
FACTORS = tuple(10.0**power for power in range(-8, 5))
ROWS = ("WG2", "LAI")


def differences(factors: Sequence[float] = FACTORS) -> dict[str, np.ndarray]:
    """Largest departure (factor, row) of forward and central differences, relative to the row's largest element."""
    steps = (DAYS_BEFORE * 24 + HOUR) * 3600 // STEP_S
    forcing = analytic_forcing(steps + 86400 // STEP_S).forcing
    parameters = landmodel.columns(
        ["C3"], [0], [7], [1.0], clay=0.25, sand=0.40, latitude=LATITUDE, longitude=LONGITUDE
    )
    model = landmodel.Isba(parameters)
    cold = landmodel.cold_start(parameters, 282.0)
    state, _ = model.run(cold, forcing, start=START, step_s=STEP_S, steps=steps, forcing_step_s=STEP_S)
    types = [
        ObservationType("ssm", DirectOperator.surface_soil_moisture([0]), ObservationError("absolute", 0.05)),
        ObservationType("lai", DirectOperator.leaf_area_index([0]), ObservationError("relative", 0.2)),
    ]
    begin = START + np.timedelta64(steps * STEP_S, "s")
    window = Window.cut(forcing, begin, forcing_start=START, forcing_step_s=STEP_S)
    kalman = SimplifiedEKF(SEKFConfiguration(), types, [0])

    def jacobian(factor: float, central: bool) -> np.ndarray:
        """(row, control) of the crop."""
        return kalman.window_jacobian(model, state, window, factor=factor, central=central)[0, :, 6]

    reference = jacobian(REFERENCE, central=True)
    scale = np.abs(reference).max(axis=1, keepdims=True)
    return {
        kind: np.array([(np.abs(jacobian(f, kind == "central") - reference) / scale).max(axis=1) for f in factors])
        for kind in ("forward", "central")
    }


def table(found: dict[str, np.ndarray], factors: Sequence[float]) -> str:
    """The differences as Markdown."""
    lines = [
        "| factor | WG2, forward | WG2, central | LAI, forward | LAI, central |",
        "|---|---|---|---|---|",
    ]
    for index, factor in enumerate(factors):
        cells = [found[kind][index, row] for row in range(2) for kind in ("forward", "central")]
        lines.append(f"| {factor:g} | " + " | ".join(f"{cell:.0e}" if cell else "-" for cell in cells) + " |")
    return "\n".join(lines)


def plot(found: dict[str, np.ndarray], factors: Sequence[float], path: Path) -> None:
    """One panel a row of the Jacobian, with the default marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, row in zip(figure.subplots(1, 2, sharey=True), range(2), strict=True):
        for kind, marker in (("forward", "o-"), ("central", "s--")):
            shown = found[kind][:, row] > 0.0  # the reference itself has no place on a logarithmic axis
            axis.loglog(np.array(factors)[shown], found[kind][shown, row], marker, markersize=4, label=kind)
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.axhspan(0.0, PLATEAU, color="0.9")
        axis.set_title(f"{ROWS[row]} to all controls")
        axis.set_xlabel("perturbation / default")
        axis.legend()
    figure.axes[0].set_ylabel("largest departure of the Jacobian")
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table and, where asked, draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw the figure")
    given = parser.parse_args(arguments)
    found = differences()
    print(table(found, FACTORS))
    if given.figure is not None:
        plot(found, FACTORS, given.figure)


if __name__ == "__main__":
    main()
