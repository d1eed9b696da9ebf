"""`ldas calibrate`: from a case file to the posterior of the parameters and its report."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ldas.pipeline.calibration.callmip import VARIABLES, write_callmip
from ldas.pipeline.calibration.case import CalibrationCase, load_calibration
from ldas.pipeline.calibration.members import check_corners, site_values
from ldas.pipeline.calibration.observations import days_of, read_observed
from ldas.pipeline.calibration.report import write_report
from ldas.pipeline.calibration.results import read_results
from ldas.pipeline.calibration.rounds import Calibration, rounds
from ldas.pipeline.calibration.sensitivity import sensitivity
from ldas.pipeline.commands.run import RunResult
from ldas.pipeline.execution import cluster
from ldas.pipeline.execution.run_stages import Listener, run_stages, stop_if_hopeless
from ldas.pipeline.report.write import default_folder
from ldas.pipeline.site.case import SiteCase
from ldas.pipeline.site.columns import site_forcing
from ldas.pipeline.site.run import forcing_checksum
from ldas.pipeline.store.arrays import existing_group, has_group, open_store
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.icechunk_store import committed, unfinished
from ldas.pipeline.store.lease import held
from ldas.pipeline.store.opening import exists
from ldas.pipeline.store.provenance import file_checksum, group_checksum

_TASKS_PER_THREAD = 2


@dataclass
class CalibrationResult(RunResult):
    """What came of a calibration: beside what a run has, the fall of the kept-back misfit (a part), and the files."""

    kept_back_reduction: float = float("nan")
    files: list[Path] = field(default_factory=list)


def run_calibration(
    path: Path,
    listener: Listener,
    *,
    message: Callable[[str], None] = lambda text: None,
    out: Path | None = None,
) -> CalibrationResult:
    """Runs what is not done yet of a calibration, then writes its report; started again, it resumes.

    Args:
        path: Case file.
        listener: Told about the progress of the rounds.
        message: Takes lines about everything else.
        out: Folder of the report (default: `<store>_report` beside a local store).

    Raises:
        ConfigurationError: before the long run, for a case that cannot be calibrated: bounds outside the physical
            range, parameters without effect, years without observations.
        StoreError: naming the holder while another command writes the store.
    """
    case, site = load_calibration(path)
    location = case.location
    try:
        with held(location, f"the calibration '{case.name}'", message), unfinished(location):
            return _calibrate(case, site, listener, message, out or default_folder(location))
    except OSError as error:
        stop_if_hopeless(location, error)
        raise


def _calibrate(
    case: CalibrationCase, site: SiteCase, listener: Listener, message: Callable[[str], None], out: Path
) -> CalibrationResult:
    from ldas.pipeline.ingest import run_ingest
    from ldas.pipeline.ingest.write import is_complete

    location = case.location
    for step in case.ingest:
        if not (exists(location) and is_complete(open_store(location), step.makes)):
            for written in run_ingest(step.source, step.config, location):
                message(str(written))
    days = days_of(site, case.utc_offset_h)
    observed = tuple(read_observed(case, days))
    forcing = site_forcing(site)
    own = site_values(case, site, forcing)
    check_corners(case, site, forcing)
    priors = {name: settings.distribution(own[name]) for name, settings in case.parameters.items()}
    calibration = Calibration(case, site, np.asarray(days), observed, priors, input_checksums(case, site))
    settings = case.execution
    with cluster.connected(settings.cluster, message) as client:
        if link := cluster.dashboard(client, settings.cluster):
            message(f"dashboard: {link}")
        first = next(rounds(calibration)).name
        with committed(location, f"{case.name}: sensitivity"):
            root = open_store(location, "a")
            if not has_group(root, f"ledger/{first}"):
                message(f"{case.name}: {3 * len(priors)} runs to see whether every parameter has an effect")
                found = sensitivity(calibration, client)
                if has_group(root, calibration.group("sensitivity")):
                    del root[calibration.group("sensitivity")]
                write_group(root, calibration.group("sensitivity"), found)
        result = CalibrationResult(
            run_stages(
                rounds(calibration),
                client,
                tasks_in_flight=lambda: _TASKS_PER_THREAD * cluster.threads(client, settings.cluster.workers),
                retries=settings.retries,
                listener=listener,
            )
        )
    if any(outcome.failures for outcome in result.outcomes.values()):
        return result
    results = read_results(open_store(location), calibration, own, VARIABLES if case.callmip else ())
    result.report = write_report(results, out)
    result.kept_back_reduction = results.kept_back_reduction()
    if case.callmip:
        result.files = write_callmip(results, out)
    for file in (result.report, *result.files):
        message(f"wrote {file}")
    return result


def input_checksums(case: CalibrationCase, site: SiteCase) -> dict[str, str]:
    """Checksums of forcing and observations by name of their file or group; files of one name are told apart."""
    checksums = forcing_checksum(site)
    for entry in case.observations:
        if entry.file is None:
            checksums[str(entry.group)] = group_checksum(existing_group(open_store(case.location), str(entry.group)))
        else:
            name, checksum = entry.file.name, file_checksum(entry.file)
            checksums[name if checksums.get(name, checksum) == checksum else f"{entry.variable}: {name}"] = checksum
    return checksums
