#!/usr/bin/env bash
# dask-jobqueue 0.9.0: `import dask_jobqueue` replaces the process's handler of SIGINT by one that calls `sys.exit(0)`.
# A program that was interrupted ends with status 0 and without KeyboardInterrupt: a job chained to its success begins.
# Seen: import distributed, SIGINT: status -2, KeyboardInterrupt: True
#       import dask_jobqueue, SIGINT: status 0, KeyboardInterrupt: False
# Expected: importing a library leaves the handlers of signals alone; an interrupt raises KeyboardInterrupt.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet dask-jobqueue==0.9.0 dask==2026.8.0 distributed==2026.8.0
"$folder/env/bin/python" - <<'PYTHON'
import subprocess
import sys
from importlib.metadata import version

print(", ".join(f"{name} {version(name)}" for name in ("dask-jobqueue", "distributed")))
INTERRUPTED = "import os, signal, time, {module}\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)\n"
seen = {}
for module in ("distributed", "dask_jobqueue"):
    program = [sys.executable, "-c", INTERRUPTED.format(module=module)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    seen[module] = done.returncode == 0, "KeyboardInterrupt" in done.stderr
    print(f"import {module}, SIGINT: status {done.returncode}, KeyboardInterrupt: {seen[module][1]}")
raise SystemExit(int(seen != {"distributed": (False, True), "dask_jobqueue": (True, False)}))
PYTHON
