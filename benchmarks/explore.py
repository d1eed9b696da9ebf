"""How long a store takes to look at: `open_run` of the demo on disk, and its requests to S3, beside an earlier commit.

Each figure is from fresh processes that have imported ldas: the tree alone, the tree and one run of it, the tree with
every group. Requests are counted by the S3 server of the tests, on loopback. SYNTHETIC: the store is the demo's.

    python benchmarks/explore.py [--store FOLDER] [--against 381319c] [--repeat 3] [--json FILE]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
# run as a script, this file's folder comes first in the path and would hide namesakes
HERE = Path(__file__).resolve().parent
sys.path = [str(REPOSITORY), *(entry for entry in sys.path if Path(entry or ".").resolve() != HERE)]

LOOKS = {
    "open_run": "",
    "open_run_and_group": "tree['runs/open_loop'].to_dataset()",
    "open_run_every_group": "[node.to_dataset() for node in tree.subtree]",
}
LOOK = """
import sys, time
import ldas
from ldas.pipeline.store.location import Location
open_run, where = ldas.open_run, Location(sys.argv[1], eval(sys.argv[2]))
start = time.perf_counter()
tree = open_run(where)
{look}
print(time.perf_counter() - start)
"""


def look(tree: Path, what: str, url: str, options: dict[str, Any]) -> float:
    """Seconds of one look at a store, by the program of a checkout."""
    command = [sys.executable, "-c", LOOK.format(look=LOOKS[what]), url, repr(options)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{tree}: {what} of {url} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return float(done.stdout)


def figures(tree: Path, store: Path, repeat: int, server: Any) -> dict[str, float]:
    """Seconds on disk (median) and requests to S3 of every look."""
    found: dict[str, float] = {}
    for what in LOOKS:
        seconds = statistics.median(look(tree, what, str(store), {}) for _ in range(repeat))
        before = server.faults.requests
        look(tree, what, "s3://explore/store", server.location_options)
        found[f"{what}_s"], found[f"{what}_s3_requests"] = round(seconds, 4), server.faults.requests - before
        print(f"  {what}: {seconds:.3f} s on disk, {server.faults.requests - before} requests to S3", flush=True)
    return found


def main() -> None:
    """Make the store where none is given, look at it with both checkouts, print and keep the figures."""
    import s3fs

    from tests.helpers.s3_server import S3Server

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a finished store; default: that of `ldas demo`, made now")
    parser.add_argument("--against", default="381319c", help="commit to compare with; `none`: only this checkout")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "of-nobody", "AWS_SECRET_ACCESS_KEY": "of-nobody"}
    with tempfile.TemporaryDirectory() as temporary:
        store = arguments.store and arguments.store.resolve()
        if store is None:
            print("ldas demo", flush=True)
            demo = [sys.executable, "-m", "ldas.pipeline.program", "demo", "--out", f"{temporary}/demo"]
            subprocess.run(demo, cwd=REPOSITORY, check=True, capture_output=True)
            store = Path(temporary) / "demo" / "store.zarr"
        server = S3Server()
        files = s3fs.S3FileSystem(**server.location_options)
        files.mkdir("explore")
        files.put(f"{store}/", "explore/store", recursive=True)
        print("this checkout", flush=True)
        result: dict[str, Any] = figures(REPOSITORY, store, arguments.repeat, server)
        if arguments.against != "none":
            other = Path(temporary) / "other"
            subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(other), arguments.against], check=True,
                           cwd=REPOSITORY)  # fmt: skip
            try:
                print(arguments.against, flush=True)
                result["before"] = {"commit": arguments.against, **figures(other, store, arguments.repeat, server)}
            finally:
                subprocess.run(["git", "worktree", "remove", "--force", str(other)], check=True, cwd=REPOSITORY)
        server.stop()
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
