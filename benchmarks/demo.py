"""How long `ldas demo` takes from an empty folder to the report, compilation included, and how large the report is.

Folder and cache of compiled code are fresh. With `--against COMMIT` the demo of that commit is run too, for its time
beside this one's. The machine must be idle: wall-clock time is that of two workers.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
LONGEST_S = 180.0


def demo(tree: Path, folder: Path) -> dict[str, Any]:
    """Times (s) and the size of the report (MB) of the demo of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "LDAS_CACHE_DIR": str(folder / "cache")}
    print(f"{tree}: ldas demo ...", flush=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "ldas.pipeline.program", "demo", "--out", str(folder / "demo")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    page = folder / "demo" / "store_report" / "index.html"
    if done.returncode or not page.is_file():
        raise SystemExit(f"{tree}: ldas demo ended with {done.returncode}:\n{done.stderr[-2000:]}")
    processor = sum(getattr(after, part) - getattr(before, part) for part in ("ru_utime", "ru_stime"))
    found = {"wall_s": wall, "processor_s": processor, "page_mb": page.stat().st_size / 1e6}
    print(" ".join(f"{key} {value:.1f}" for key, value in found.items()), flush=True)
    return found


def main() -> None:
    """Run and print; exit status 1 where it took longer than three minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", help="commit whose demo is run too")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        now, other = Path(temporary) / "now", Path(temporary) / "other"
        now.mkdir()
        found = {"now": demo(REPOSITORY, now)}
        if arguments.against:
            add = ["git", "worktree", "add", "--quiet", "--detach", str(other / "tree"), arguments.against]
            subprocess.run(add, check=True, cwd=REPOSITORY)
            try:
                found["before"] = demo(other / "tree", other)
            finally:
                remove = ["git", "worktree", "remove", "--force", str(other / "tree")]
                subprocess.run(remove, check=True, cwd=REPOSITORY)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(0 if found["now"]["wall_s"] <= LONGEST_S else 1)


if __name__ == "__main__":
    main()
