"""How long a store takes to look at: `open_run` of the demo on disk, and its requests to S3, beside an earlier commit;
and the page of `ldas explore` with 20,000 cells and four years, beside xarray and hvPlot.

Each figure of `open_run` is from fresh processes that have imported ldas: the tree alone, the tree and one run of it,
the tree with every group. Requests are counted by the S3 server of the tests, on loopback. The page is measured in
Chromium, from the request to the drawn map and from a click to the drawn series, the server started. SYNTHETIC: the
stores are the demo's, and one made by formulas (1.1 GB, kept in --explored if that is given).

    python benchmarks/explore.py [--store FOLDER] [--against 381319c] [--repeat 3] [--json FILE]
        [--explored FOLDER] [--cells 20000] [--years 4] [--only open_run|page]
"""

import argparse
import json
import os
import shutil
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


def opening(arguments: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Figures of `open_run`; makes the store where none is given."""
    import s3fs

    from tests.helpers.s3_server import S3Server

    store = arguments.store and arguments.store.resolve()
    if store is None:
        print("ldas demo", flush=True)
        demo = [sys.executable, "-m", "ldas.pipeline.program", "demo", "--out", str(temporary / "demo")]
        subprocess.run(demo, cwd=REPOSITORY, check=True, capture_output=True)
        store = temporary / "demo" / "store.zarr"
    server = S3Server()
    files = s3fs.S3FileSystem(**server.location_options)
    files.mkdir("explore")
    files.put(f"{store}/", "explore/store", recursive=True)
    print("this checkout", flush=True)
    result: dict[str, Any] = figures(REPOSITORY, store, arguments.repeat, server)
    if arguments.against != "none":
        other = temporary / "other"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(other), arguments.against], check=True,
                       cwd=REPOSITORY)  # fmt: skip
        try:
            print(arguments.against, flush=True)
            result["before"] = {"commit": arguments.against, **figures(other, store, arguments.repeat, server)}
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(other)], check=True, cwd=REPOSITORY)
    server.stop()
    return result


def page(arguments: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Figures of the page; makes its store where it is not there."""
    from benchmarks.explore_page import measured
    from benchmarks.explored_store import make_store

    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        raise SystemExit(f"the page is measured in a browser, none of {', '.join(names)} is on this machine")
    store = (arguments.explored or temporary / "explored").resolve()
    if not store.exists():
        print(f"a store of {arguments.cells} cells and {arguments.years} years", flush=True)
        make_store(store, arguments.cells, arguments.years)
    print("the page of ldas explore", flush=True)
    return measured(store, chromium, arguments.repeat)


def main() -> None:
    """Measure what is asked for, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a finished store; default: that of `ldas demo`, made now")
    parser.add_argument("--against", default="381319c", help="commit to compare with; `none`: only this checkout")
    parser.add_argument("--explored", type=Path, help="where the store of the page is, or is made and kept")
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--years", type=int, default=4)
    parser.add_argument("--only", choices=("open_run", "page"))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "of-nobody", "AWS_SECRET_ACCESS_KEY": "of-nobody"}
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.only != "page":
            result |= opening(arguments, Path(temporary))
        if arguments.only != "open_run":
            result |= page(arguments, Path(temporary))
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
