"""Is the land model as fast as at another commit? Speed and first compilation of both, side by side in one run.

Each checkout compiles its land model into an empty cache, then runs its own `benchmarks/landmodel.py`, in turns with
the other. Compared is processor time, which neighbours on the machine disturb least: the best of all rounds.

    python benchmarks/landmodel_against.py --against d0208ce [--rounds 3] [--json FILE]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RATES = ("one_core_per_cpu_second", "nine_members_per_cpu_second")


def processor_seconds(tree: Path, cache: Path, *command: str) -> float:
    """What a Python command of a checkout takes, with nothing of another one in the path."""
    environment = {"LDAS_SHARED": str(REPOSITORY.parent / "shared"), **os.environ}  # the same weather for both
    environment |= {"PYTHONPATH": str(tree), "LDAS_CACHE_DIR": str(cache), "NUMBA_CACHE_DIR": str(cache)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def figures(trees: dict[str, Path], folder: Path, rounds: int, days: int) -> dict[str, dict[str, float]]:
    """Seconds of the first compilation and column-steps per second of processor time, by checkout."""
    found: dict[str, dict[str, float]] = {}
    for name, tree in trees.items():
        cold = processor_seconds(tree, folder / name, "-m", "tests.compile_kernel")
        warm = processor_seconds(tree, folder / name, "-m", "tests.compile_kernel")
        found[name] = {"first_compilation_s": cold - warm, **dict.fromkeys(RATES, 0.0)}
    for _ in range(rounds):
        for name, tree in trees.items():
            out = folder / f"{name}.json"
            command = (str(tree / "benchmarks" / "landmodel.py"), "--json", str(out), "--days", str(days))
            processor_seconds(tree, folder / name, *command)
            rates = json.loads(out.read_text(encoding="utf-8"))["column_steps_per_second"]
            for rate in RATES:
                found[name][rate] = max(found[name][rate], rates[rate])
    return found


def main() -> None:
    """Print both columns and the ratios; `--json FILE` writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default="d0208ce", help="commit to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        other = Path(temporary) / "other"
        worktree = ["git", "worktree", "add", "--quiet", "--detach", str(other), arguments.against]
        subprocess.run(worktree, check=True, cwd=REPOSITORY)
        try:
            trees = {"before": other, "now": REPOSITORY}
            found = figures(trees, Path(temporary), arguments.rounds, arguments.days)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(other)], check=True, cwd=REPOSITORY)
    print(f"{'':32s}{arguments.against:>14s}{'now':>14s}{'ratio':>8s}")
    for name, before in found["before"].items():
        now = found["now"][name]
        print(f"{name:32s}{before:14,.1f}{now:14,.1f}{now / before:8.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
