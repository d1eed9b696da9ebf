"""Does this checkout give the same numbers as another commit? Hashes of everything, of both, side by side.

Both run `ldas conformance --json` (where the reference data are there), the demo, and the twin of seed 1 over its cells
with stations, from 2007 to 2009, with both assimilations. Compared are the table of the conformance and every array of
the stores except ledgers, whose order of writing differs. Exit status 1 where anything differs; arrays that the other
commit does not have are listed.

    python benchmarks/same_bits.py --against d0208ce [--json FILE] [--keep FOLDER]
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
import zarr

# run as a script, this file's folder comes first in the path and would hide namesakes
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
REPOSITORY = Path(__file__).resolve().parents[1]
LEFT_OUT = ("ledger",)


def program(tree: Path) -> list[str]:
    """The command `ldas` of a checkout; its modules had names of their own before they moved below `ldas`."""
    module = "ldas.pipeline.program" if (tree / "ldas").is_dir() else "pipeline.cli"
    return [sys.executable, "-m", module]


def run(tree: Path, folder: Path, *arguments: str) -> None:
    """One command of a checkout, with nothing of another one in the path."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run([*program(tree), *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{tree}: ldas {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def array_hashes(store: Path) -> dict[str, str]:
    """Hash of the values of every array, by path, read with Zarr alone."""
    root = zarr.open_group(str(store), mode="r", zarr_format=3)
    hashes = {}
    for path, item in root.members(max_depth=None):
        if isinstance(item, zarr.Array) and not path.startswith(LEFT_OUT):
            hashes[path] = hashlib.sha256(item[...].tobytes()).hexdigest()[:16]
    return hashes


def twin_experiment() -> str:
    """The twin of the paper's experiment over the cells of the subset `stations`, three years, both assimilations."""
    content = yaml.safe_load((REPOSITORY / "examples" / "southwest_france_twin.yaml").read_text(encoding="utf-8"))
    content["store"]["url"] = "twin.zarr"
    content["twin"]["subset"] = "stations"
    content["period"] = {"start": "2007-01-01", "end": "2009-12-31"}
    content["spin_up"]["repetitions"] = 2
    content["open_loop"]["restart_on"] = ["2009-01-01"]
    content["operators"][0]["training"] = {"start": "2007-01-01", "end": "2008-12-31"}
    content["operators"][0]["test"] = {"start": "2009-01-01", "end": "2009-12-31"}
    for entry in content["assimilation"]:
        entry["start"], entry["end"] = "2009-01-01", "2009-12-31"
    content["execution"]["cells_per_block"] = 8
    content["report"] = False
    return yaml.safe_dump(content)


def hashes_of(tree: Path, folder: Path) -> dict[str, str]:
    """Everything that a checkout computes, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, str] = {}
    reference = Path(os.environ.get("LDAS_SHARED", REPOSITORY.parent / "shared")) / "reference" / "surfex"
    if reference.is_dir():
        run(tree, folder, "conformance", str(reference), "--json", "conformance.json")
        found["conformance --json"] = hashlib.sha256((folder / "conformance.json").read_bytes()).hexdigest()[:16]
    (folder / "demo.yaml").write_text(
        (REPOSITORY / "examples" / "demo.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    run(tree, folder, "run", "demo.yaml")  # this tree's demo in both
    (folder / "twin.yaml").write_text(twin_experiment(), encoding="utf-8")
    run(tree, folder, "run", "twin.yaml")
    for name, store in (("demo", folder / "store.zarr"), ("twin", folder / "twin.zarr")):
        found |= {f"{name}: {path}": value for path, value in array_hashes(store).items()}
    return found


def main() -> None:
    """Run both, print one line an array that differs, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", default="d0208ce", help="commit to compare with")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the stores; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        other = Path(temporary) / "other"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(other), arguments.against], check=True,
                       cwd=REPOSITORY)  # fmt: skip
        try:
            folder = (arguments.keep or Path(temporary)).resolve()
            before, now = hashes_of(other, folder / "before"), hashes_of(REPOSITORY, folder / "now")
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(other)], check=True, cwd=REPOSITORY)
    different = {name: (old, now.get(name)) for name, old in sorted(before.items()) if old != now.get(name)}
    for name, (old, new) in different.items():
        print(f"{name}: {old} at {arguments.against}, {new or 'not there'} now")
    added = ", ".join(sorted(set(now) - set(before))) or "none"
    print(f"{len(before)} hashes at {arguments.against}, {len(different)} differ; new since then: {added}")
    print(f"conformance --json: {before.get('conformance --json')} and {now.get('conformance --json')}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"before": before, "now": now}, indent=1), encoding="utf-8")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
