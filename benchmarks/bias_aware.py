"""A filter that estimates its errors, in the SYNTHETIC twin with biased backscatter and a wrong R.

One twin is made: open loop, networks trained on the first years, which see no bias. In copies of its store the sigma40
of the later years is altered, in each cell with a sign of its own: by a step of 0.5 dB at a day of its own, or by a
drift from 0 to 0.5 dB. In each, and where nothing is altered, one EKF runs as ever (blind) and one with `bias` and
`adaptive_errors` (aware), with the right R, half of it and twice of it. The first year is for settling; the others are
scored by cell: chi-square, correlation of successive innovations, RMSD of the forecasts of LAI and WG2 against the
truth. `knowing` is the filter that is told the injected bias and R: the blind one where nothing is wrong. `reversed` is
the step with the other sign: a bias of one sign may offset an error of the model by chance, so that scores over both
signs are shown too.

    python benchmarks/bias_aware.py [--step 0.25] [--years 3] [--seed 1] [--bias JSON] [--folder FOLDER] [--json FILE]

A step of 0.25 degrees makes all 248 cells of seed 1, 0.5 about 60. A folder that has some of the runs is continued.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

# run as a script, the folder of this file comes first in the path: other benchmarks would hide packages of their name
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from ldas.assim.diagnostics import chi_square_ratio, innovation_statistics  # noqa: E402
from ldas.assim.quality import Quality  # noqa: E402
from ldas.pipeline.store.arrays import open_dataset, open_store  # noqa: E402

LDAS = [sys.executable, "-m", "ldas.pipeline.program"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
BIAS_DB, SIGMA_DB = 0.5, 0.33
FACTORS = {"right": 1.0, "half": 0.5, "twice": 2.0}  # of R
SCENARIOS = {  # what is altered, and the R of its runs
    "none": ("right", "half", "twice"),
    "step": ("right", "half", "twice"),
    "reversed": ("right",),
    "drift": ("right", "half", "twice"),
}
START, TRAINED_UNTIL = 2007, 2009


def run_of(error: str, aware: bool) -> str:
    """Name of a run."""
    return f"{'aware' if aware else 'blind'}_{error}"


def errors_of(what: str, arguments: argparse.Namespace) -> list[str]:
    """The R of a scenario's runs, of those asked for."""
    return [error for error in SCENARIOS[what] if error in arguments.errors]


def assimilation(error: str, aware: bool, bias: dict[str, Any]) -> dict[str, Any]:
    """One run, with options of its bias."""
    size = SIGMA_DB * float(np.sqrt(FACTORS[error]))
    observation = {"name": "sigma40", "operator": "neural", "error": {"kind": "absolute", "size": size}}
    estimated: dict[str, Any] = {"bias": bias, "adaptive_errors": {}} if aware else {}
    start = f"{TRAINED_UNTIL + 1}-01-01"
    return {"name": run_of(error, aware), "start": start, "observations": [observation], **estimated}


def experiment_file(folder: Path, what: str, arguments: argparse.Namespace) -> Path:
    """The experiment of the twin, or of a copy of it."""
    end = f"{TRAINED_UNTIL + arguments.years}-12-31"
    content = {
        "name": f"bias_aware_{what}",
        "synthetic": True,
        "store": {"url": f"{what}.zarr"},
        "twin": {"seed": arguments.seed, "region": {**arguments.region, "step": arguments.step}},
        "period": {"start": f"{START}-01-01", "end": end},
        "spin_up": {"year": START, "repetitions": 3},
        "output": {"mean": ["LE"], "instant": ["WG1", "WG2", "WG3", "WG4", "TG1", "TG2", "WGI2", "LAI", "SWE"]},
        "open_loop": {"restart_on": [f"{TRAINED_UNTIL + 1}-01-01"]},
        "operators": [
            {"name": "neural", "training": {"start": f"{START}-01-01", "end": f"{TRAINED_UNTIL}-12-31"}},
        ],
        "assimilation": [
            assimilation(error, aware, arguments.bias)
            for error in errors_of(what, arguments)
            for aware in (False, True)
        ],
        "execution": {"cells_per_block": 63, "days_per_period": 366},
        "report": False,
    }
    path = folder / f"{what}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def injected(what: str, days: np.ndarray, cells: int, seed: int) -> np.ndarray:
    """The bias (day, cell) that is added, dB; none before the second year of the assimilation."""
    random = np.random.default_rng([seed, 20])
    sign = random.choice([-1.0, 1.0], cells) * (-1.0 if what == "reversed" else 1.0)
    first = np.datetime64(f"{TRAINED_UNTIL + 2}-01-01")
    after = (days.astype("datetime64[D]") - first).astype(np.float64)[:, None]
    length = float(after.max())
    if what in ("step", "reversed"):
        return np.asarray(np.where(after >= random.integers(0, int(length / 2), cells), sign * BIAS_DB, 0.0))
    return np.asarray(sign * BIAS_DB * np.clip(after / length, 0.0, 1.0))


def altered_copy(folder: Path, what: str, seed: int) -> None:
    """A copy of the twin's store, forcing and truth shared, with altered backscatter."""
    source, target = folder / "none.zarr", folder / f"{what}.zarr"
    if target.exists():
        return
    part, shared = folder / f"{what}.part", ("forcing", "truth")
    shutil.rmtree(part, ignore_errors=True)
    left_out = shutil.ignore_patterns(*shared, "blind_*", "aware_*", "error_of_*")
    shutil.copytree(source, part, ignore=left_out)
    for name in shared:
        (part / name).symlink_to(source.resolve() / name)
    group = open_store(str(part), "a")["observations/sigma40"]
    days, values = group["time"], group["value"]
    dates = open_dataset(part, "observations/sigma40")["time"].to_numpy()
    values[:] = values[:] + injected(what, dates, values.shape[1], seed).astype(values.dtype)
    group.attrs["altered"] = f"SYNTHETIC: a {what} of {BIAS_DB} dB was added to {days.shape[0]} days by a benchmark"
    part.rename(target)


def run(path: Path) -> None:
    """`ldas run`."""
    print(f"--- {path.stem}", flush=True)
    subprocess.run([*LDAS, "run", str(path)], check=True, env=ENVIRONMENT)


def scored(store: Path, name: str) -> dict[str, np.ndarray]:
    """By cell, from the second year on."""
    found = open_dataset(store, f"runs/{name}").sel(time=slice(f"{TRAINED_UNTIL + 2}-01-01", None)).load()
    truth = open_dataset(store, "truth")[["LAI", "WG2"]]
    used = found["quality_sigma40"].to_numpy() == Quality.USED
    innovation = np.where(used, found["innovation_sigma40"].to_numpy().astype(np.float64), np.nan)
    figures = {
        "chi_square": chi_square_ratio(found["chi_square"].to_numpy().astype(np.float64), used.astype(np.int64)),
        "lag_one": innovation_statistics(innovation).lag_one_correlation,
    }
    days = found["time"].to_numpy().astype("datetime64[D]")
    place = np.searchsorted(truth["time"].to_numpy().astype("datetime64[D]"), days)
    for variable in ("LAI", "WG2"):
        true = truth[variable].isel(time=place).to_numpy().astype(np.float64)
        forecast = found[f"{variable}_forecast"].to_numpy().astype(np.float64)
        figures[variable] = np.sqrt(np.nanmean((forecast - true) ** 2, axis=0))
    if "bias_sigma40" in found:
        figures["bias_at_limit"] = (found["bounded_sigma40"].to_numpy() & 1).mean(axis=0)
    return figures


def compared(
    blind: dict[str, np.ndarray], aware: dict[str, np.ndarray], knowing: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Medians and shares of the cells."""
    figures: dict[str, Any] = {"cells": len(blind["LAI"])}
    for name, one in (("blind", blind), ("aware", aware)):
        consistent = (one["chi_square"] >= 0.9) & (one["chi_square"] <= 1.1)
        white = np.abs(one["lag_one"]) < 0.2
        figures[name] = {
            "chi_square_median": float(np.median(one["chi_square"])),
            "chi_square_0.9_to_1.1": float(consistent.mean()),
            "lag_one_median": float(np.median(one["lag_one"])),
            "lag_one_below_0.2": float(white.mean()),
            "both": float((consistent & white).mean()),
            **{f"{variable}_rmsd_median": float(np.median(one[variable])) for variable in ("LAI", "WG2")},
        }
    for name, one in (("aware", aware), ("knowing", knowing)):
        for variable in ("LAI", "WG2"):
            ratio = one[variable] / blind[variable]
            figures[f"{name}_to_blind_{variable}"] = {
                "median": float(np.median(ratio)),
                "of_medians": float(np.median(one[variable]) / np.median(blind[variable])),
                "worse": float((ratio > 1.0).mean()),
                "worse_by_1_percent": float((ratio > 1.01).mean()),
                "worse_by_5_percent": float((ratio > 1.05).mean()),
            }
    return figures


def over_both_signs(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of the step and of its reverse together: RMSD over both, means of the other figures."""
    joint = {name: (one[name] + other[name]) / 2.0 for name in ("chi_square", "lag_one")}
    return joint | {name: np.sqrt((one[name] ** 2 + other[name] ** 2) / 2.0) for name in ("LAI", "WG2")}


def print_line(what: str, error: str, found: dict[str, Any]) -> None:
    """One scenario."""
    blind, aware = found["blind"], found["aware"]
    print(
        f"{what}, R {error}: chi-square {blind['chi_square_median']:.2f} -> {aware['chi_square_median']:.2f} "
        f"({100 * aware['chi_square_0.9_to_1.1']:.0f} % of the cells within 0.9 to 1.1), lag-1 correlation "
        f"{blind['lag_one_median']:.2f} -> {aware['lag_one_median']:.2f} "
        f"({100 * aware['lag_one_below_0.2']:.0f} % below 0.2)"
    )
    for variable in ("LAI", "WG2"):
        texts = []
        for name in ("aware", "knowing"):
            ratio = found[f"{name}_to_blind_{variable}"]
            texts.append(
                f"{name} {ratio['median']:.3f} of the blind (median; worse in {100 * ratio['worse']:.0f} % of the "
                f"cells, by over 1 % in {100 * ratio['worse_by_1_percent']:.0f} %)"
            )
        print(f"    RMSD of {variable}: {'; '.join(texts)}", flush=True)


def main() -> None:
    """Prints the figures; `--json FILE` writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=float, default=0.25, help="of the grid, degrees")
    parser.add_argument(
        "--region", type=json.loads, default={"south": 42.0, "north": 46.0, "west": -2.0, "east": 4.0}, help="as JSON"
    )
    parser.add_argument("--years", type=int, default=3, help="of the assimilation, the first for settling")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--errors", nargs="+", choices=FACTORS, default=list(FACTORS), help="right has to be there")
    parser.add_argument("--bias", type=json.loads, default={}, help="options of the estimated bias, as JSON")
    parser.add_argument("--folder", type=Path, help="where the stores are kept, or continued")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    arguments = parser.parse_args()
    if "none" not in arguments.scenarios or "right" not in arguments.errors:
        parser.error("the scenario none with the right R is what the others are compared with")
    if arguments.years < 2:
        parser.error("--years: at least 2, because the first is for settling")
    began, figures = time.monotonic(), {}
    with tempfile.TemporaryDirectory(prefix="ldas-bias-aware-") as spare:
        folder = arguments.folder or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        for what in arguments.scenarios:
            path = experiment_file(folder, what, arguments)
            if what != "none":
                altered_copy(folder, what, arguments.seed)
            run(path)
        knowing = scored(folder / "none.zarr", run_of("right", aware=False))
        for what in arguments.scenarios:
            for error in errors_of(what, arguments):
                blind, aware = (scored(folder / f"{what}.zarr", run_of(error, aware)) for aware in (False, True))
                figures[f"{what}, R {error}"] = compared(blind, aware, knowing)
                print_line(what, error, figures[f"{what}, R {error}"])
        if {"step", "reversed"} <= set(arguments.scenarios):
            pairs = [
                [scored(folder / f"{what}.zarr", run_of("right", aware)) for what in ("step", "reversed")]
                for aware in (False, True)
            ]
            figures["both signs, R right"] = compared(*(over_both_signs(*pair) for pair in pairs), knowing)
            print_line("both signs", "right", figures["both signs, R right"])
    chosen = {key: value for key, value in vars(arguments).items() if key not in ("folder", "json")}
    whole = {**chosen, "scenarios": figures, "seconds": time.monotonic() - began}
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
