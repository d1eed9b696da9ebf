"""The rounds of a calibration: all members run with their parameters, round 0 with those of the prior.

Each round is a stage whose cells are the members: batches of them are tasks on Dask, and the ledger of the store knows
which are done. A round's parameters follow from the predictions of the one before, so they are made when it begins.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zarr

from ldas.assim.es_mda import es_mda_step
from ldas.assim.priors import Prior
from ldas.landmodel.array_types import Array, Days
from ldas.pipeline.calibration.case import CalibrationCase
from ldas.pipeline.calibration.members import run_members
from ldas.pipeline.calibration.observations import Observed, within
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.site.case import SiteCase
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import read_region, write_region
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.provenance import configured, provenance
from ldas.pipeline.store.template import ArraySpec, create_template


@dataclass(frozen=True)
class Calibration:
    """All that the rounds of a calibration depend on.

    days: (day,) of the run in the clock of the observations. priors: by parameter. checksums: of the input files.
    """

    case: CalibrationCase
    site: SiteCase
    days: Days
    observed: tuple[Observed, ...]
    priors: Mapping[str, Prior]
    checksums: Mapping[str, str]

    def group(self, name: str) -> str:
        """Group of the store."""
        return f"calibration/{self.case.name}/{name}"

    def values(self, z: Array) -> Array:
        """Parameters (member, parameter) from the standard normal variables that stand for them."""
        return np.stack([prior.values(z[:, i]) for i, prior in enumerate(self.priors.values())], axis=1)

    def members(self, values: Array) -> list[dict[str, float]]:
        """Parameters by name of every member."""
        return [dict(zip(self.priors, map(float, row), strict=True)) for row in values]

    def configuration(self) -> dict[str, Any]:
        """The case as results depend on it, without places of files."""
        case = self.case.model_dump(mode="json", exclude={"execution", "store", "ingest", "callmip", "description"})
        return configured({**case, "site": self.site.model_dump(mode="json")})

    def attributes(self) -> dict[str, Any]:
        """Attributes of every group."""
        synthetic = {"synthetic": "observations made by the software"} if self.case.synthetic else {}
        return {**provenance(self.configuration(), self.checksums), **synthetic}


@dataclass(frozen=True)
class Round(Stage):
    """All members with the parameters of one round."""

    calibration: Calibration
    number: int

    @property
    def group(self) -> str:
        """Group of parameters and predictions."""
        return self.calibration.group(f"round_{self.number}")

    def periods(self) -> Sequence[Period]:
        """One: the whole run of the site."""
        days = self.calibration.days.astype("datetime64[s]")
        return [Period(0, days[0], days[-1] + np.timedelta64(1, "D"), slice(0, len(days)))]

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`."""
        return {
            "calibration": self.calibration.configuration(),
            "files": dict(self.calibration.checksums),
            "execution": {"members_per_batch": self.cells_per_block},
        }

    def work_days(self, period: Period) -> float:
        """See `Stage.work_days`; with the spin-up."""
        return super().work_days(period) + 365.0 * self.calibration.case.spin_up_repetitions

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`; the parameters of the round are made here."""
        calibration = self.calibration
        z = self._parameters(root)
        create_template(
            root,
            self.group,
            {
                "standard_normal": ArraySpec(("member", "parameter"), "float64"),
                "value": ArraySpec(("member", "parameter"), "float64"),
                **{name: ArraySpec(("time", "member")) for name in calibration.case.variables},
            },
            coordinates={
                "member": (("member",), np.arange(self.cells)),
                "parameter": (("parameter",), np.arange(len(calibration.priors))),
                "parameter_name": (("parameter",), np.array(list(calibration.priors))),
                "time": (("time",), calibration.days.astype("datetime64[s]")),
            },
            chunks={"member": self.cells_per_block},
            attributes=calibration.attributes(),
        )
        write_region(root, self.group, {"standard_normal": z, "value": calibration.values(z)}, {})

    def _parameters(self, root: zarr.Group) -> Array:
        """Standard normal variables (member, parameter): drawn, or those of the round before corrected by it.

        Members whose model failed keep NaN and are run no more.
        """
        calibration, seed = self.calibration, self.calibration.case.method.seed
        if self.number == 0:
            return np.random.default_rng([seed, 0]).standard_normal((self.cells, len(calibration.priors)))
        before = replace(self, number=self.number - 1)
        z = before.standard_normal(root)
        predicted, observed, error = before.pairs(root)
        noise = np.random.default_rng([seed, self.number]).standard_normal(predicted.shape)
        sound = np.isfinite(predicted).all(axis=1)
        result = np.full_like(z, np.nan)
        inflation = float(calibration.case.method.assimilations)
        result[sound] = es_mda_step(z[sound], predicted[sound], observed, error, inflation, noise[sound])
        return result

    def standard_normal(self, root: zarr.Group) -> Array:
        """Standard normal variables of the parameters, (member, parameter)."""
        return read_region(root, self.group, "standard_normal")

    def pairs(self, root: zarr.Group) -> tuple[Array, Array, Array]:
        """Predictions (member, observation), observations and errors (observation,) of the calibration's days.

        Errors that are alike for n days count as one: n observations with n times their variance are worth that one.
        """
        calibration = self.calibration
        window = within(calibration.days, calibration.case.calibration)
        predicted, observed, error = [], [], []
        for series, settings in zip(calibration.observed, calibration.case.observations, strict=True):
            used = series.used(window)
            predicted.append(read_region(root, self.group, series.variable).astype(np.float64)[used].T)
            observed.append(series.value[used])
            error.append(series.error[used] * np.sqrt(settings.error.correlation_days))
        return np.concatenate(predicted, axis=1), np.concatenate(observed), np.concatenate(error)

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`."""
        calibration = self.calibration
        values = read_region(root, self.group, "value")[block.region]
        run = np.flatnonzero(np.isfinite(values).all(axis=1))
        results = {name: np.full((len(calibration.days), block.cells), np.nan) for name in calibration.case.variables}
        if len(run):
            found = run_members(
                calibration.site,
                calibration.members(values[run]),
                calibration.case.variables,
                calibration.case.spin_up_repetitions,
            )
            for name, series in found.items():
                results[name][:, run] = series
        write_region(root, self.group, results, {"member": block.region})
        lost = ~np.all([np.isfinite(series).all(axis=0) for series in results.values()], axis=0)
        return np.where(lost, ledger.SET_ASIDE, ledger.DONE).astype("int8")

    def memory_bytes(self, cells: int) -> int:
        """Forcing, and the daily outputs of every member."""
        days = len(self.calibration.days)
        return days * 24 * 9 * 8 * 4 + cells * days * 8 * 4 * len(self.calibration.case.variables)


def rounds(calibration: Calibration) -> Iterator[Round]:
    """Prior, and the ensemble after each assimilation: the last one is the posterior."""
    case = calibration.case
    for number in range(case.method.assimilations + 1):
        yield Round(
            f"{case.name}_round_{number}",
            case.location,
            case.method.ensemble_size,
            case.execution.members_per_batch,
            calibration,
            number,
        )
