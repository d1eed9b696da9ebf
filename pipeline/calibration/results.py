"""What came out of a calibration: prior and posterior, and how well they predict what was kept back."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from ldas.landmodel.array_types import Array, BoolArray
from ldas.pipeline.calibration.members import run_members
from ldas.pipeline.calibration.observations import Observed, within
from ldas.pipeline.calibration.rounds import Calibration, rounds
from ldas.pipeline.store.arrays import open_lazily, read_region

SITE, CALIBRATED, ENSEMBLE = "site's parameters", "calibrated", "posterior ensemble"
COVERED = 1.96  # standard deviations: 95 % of a normal distribution


@dataclass(frozen=True)
class Results:
    """Prior and posterior of a calibration, and runs with the parameters of the site and with the calibrated ones.

    prior, posterior: parameters (member, parameter) of the members that ran. calibrated: (parameter,), those of the
    mean of the posterior's standard normal variables. predicted: variable -> (day, member) of the posterior. outputs:
    variable -> (day, 2), the site's run and the calibrated one. effect: see `sensitivity`.
    """

    calibration: Calibration
    site_values: Mapping[str, float]
    prior: Array
    posterior: Array
    calibrated: Array
    predicted: Mapping[str, Array]
    outputs: Mapping[str, Array]
    effect: xr.Dataset
    set_aside: int

    def parameter_table(self) -> pd.DataFrame:
        """Prior and posterior of every parameter."""
        rows = []
        for i, name in enumerate(self.calibration.priors):
            low, high = np.quantile(self.posterior[:, i], (0.025, 0.975))
            before, after = self.prior[:, i], self.posterior[:, i]
            rows.append(
                {
                    "parameter": name,
                    "site": self.site_values[name],
                    "prior mean": float(before.mean()),
                    "prior sd": float(before.std(ddof=1)),
                    "calibrated": float(self.calibrated[i]),
                    "sd": float(after.std(ddof=1)),
                    "2.5 %": float(low),
                    "97.5 %": float(high),
                    "spread left": float(after.std(ddof=1) / before.std(ddof=1)),
                }
            )
        return pd.DataFrame(rows)

    def score_table(self) -> pd.DataFrame:
        """Scores by period, variable and run; `misfit` is the mean squared difference in units of the error."""
        rows = []
        for period in ("calibration", "kept_back"):
            window = within(self.calibration.days, getattr(self.calibration.case, period))
            for series in self.calibration.observed:
                for run, values in self.runs(series.variable).items():
                    rows.append(
                        {"period": period, "variable": series.variable, "run": run, **_scores(series, values, window)}
                    )
        return pd.DataFrame(rows)

    def runs(self, variable: str) -> dict[str, Array]:
        """Predictions (day,) of a variable by run; of the ensemble, its mean."""
        outputs = self.outputs[variable]
        return {SITE: outputs[:, 0], CALIBRATED: outputs[:, 1], ENSEMBLE: self.predicted[variable].mean(axis=1)}

    def misfit(self, run: str, window: BoolArray) -> float:
        """Mean over all observations of a window of the squared difference in units of the error; NaN without any."""
        squares = [
            ((self.runs(series.variable)[run] - series.value) / series.error)[series.used(window)] ** 2
            for series in self.calibration.observed
        ]
        joined = np.concatenate(squares)
        return float(joined.mean()) if joined.size else float("nan")

    def kept_back_reduction(self) -> float:
        """Part by which the calibrated parameters lower the misfit of the kept-back days."""
        window = within(self.calibration.days, self.calibration.case.kept_back)
        return 1.0 - self.misfit(CALIBRATED, window) / self.misfit(SITE, window)

    def year_table(self) -> pd.DataFrame:
        """Misfit of every year."""
        case, days = self.calibration.case, self.calibration.days
        years = days.astype("datetime64[Y]")
        rows = []
        for period in ("calibration", "kept_back"):
            inside = within(days, getattr(case, period))
            for year in np.unique(years[inside]):
                window = inside & (years == year)
                before, after = (self.misfit(run, window) for run in (SITE, CALIBRATED))
                row = {"year": str(year), "period": period, f"misfit, {SITE}": before, f"misfit, {CALIBRATED}": after}
                rows.append({**row, "change": after / before - 1.0})
        return pd.DataFrame(rows)

    def covered(self, variable: str, period: str) -> float:
        """Part of a period's observations inside the 95 % of the posterior's spread and the observation error."""
        (series,) = (one for one in self.calibration.observed if one.variable == variable)
        used = series.used(within(self.calibration.days, getattr(self.calibration.case, period)))
        predicted = self.predicted[variable][used]
        spread = np.hypot(predicted.std(axis=1, ddof=1), series.error[used])
        return float(np.mean(np.abs(predicted.mean(axis=1) - series.value[used]) <= COVERED * spread))


def _scores(series: Observed, values: Array, window: BoolArray) -> dict[str, float]:
    used = series.used(window)
    observed, found = series.value[used], values[used]
    difference = found - observed
    varies = len(found) > 1 and found.std() > 0.0 and observed.std() > 0.0
    return {
        "N": int(used.sum()),
        "misfit": float(np.mean((difference / series.error[used]) ** 2)),
        "RMSD": float(np.sqrt(np.mean(difference**2))),
        "bias": float(difference.mean()),
        "R": float(np.corrcoef(found, observed)[0, 1]) if varies else float("nan"),
    }


def read_results(
    root: zarr.Group, calibration: Calibration, site_values: Mapping[str, float], variables: tuple[str, ...]
) -> Results:
    """Reads prior and posterior, and runs the site with its own parameters and with the calibrated ones.

    variables: that these two runs put out beside the observed ones.
    """
    first, *_, last = rounds(calibration)
    z = last.standard_normal(root)
    predicted = {name: read_region(root, last.group, name).astype(np.float64) for name in calibration.case.variables}
    sound = np.all([np.isfinite(values).all(axis=0) for values in predicted.values()], axis=0)
    prior = read_region(root, first.group, "value")
    calibrated = calibration.values(z[sound].mean(axis=0)[None])[0]
    wanted = tuple(dict.fromkeys((*calibration.case.variables, *variables)))
    best = dict(zip(calibration.priors, map(float, calibrated), strict=True))
    return Results(
        calibration,
        site_values,
        prior[np.isfinite(prior).all(axis=1)],
        calibration.values(z[sound]),
        calibrated,
        {name: values[:, sound] for name, values in predicted.items()},
        run_members(calibration.site, [{}, best], wanted, calibration.case.spin_up_repetitions),
        open_lazily(root, calibration.group("sensitivity")).load(),
        int((~sound).sum()),
    )
