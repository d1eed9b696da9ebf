"""Stand-ins of Slurm's commands: jobs are process groups of this machine, their numbers those of the groups."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import REPOSITORY

OPTIONS = {"interface": "lo", "cores": 1, "memory": "1GiB", "queue": "cpu"}
# What `sbatch` does: run the script; "refuse", "queue" or "fail" where a file of this name is in the folder.
SBATCH = """\
#!/bin/bash
cd "{folder}"
if [ -e refuse ]; then echo "sbatch: error: invalid partition specified: cpu" >&2; exit 1; fi
cp "$1" "job-$$.sh"
if [ -e queue ]; then setsid sleep 1000 >/dev/null 2>&1 & state=PENDING
elif [ -e fail ]; then setsid false & state=RUNNING
else setsid bash "job-$$.sh" >>job.log 2>&1 & state=RUNNING; fi
echo "$state" >"jobs/$!"
echo "Submitted batch job $!"
"""
SCANCEL = '#!/bin/bash\nkill -TERM -- "-$1" 2>/dev/null || true\n'
SQUEUE = """\
#!/bin/bash
for file in "{folder}"/jobs/*; do
    number=$(basename "$file")
    # Not a zombie: process 1 of a container may be one that does not wait for its children.
    if stat=$(cat "/proc/$number/stat" 2>/dev/null) && [[ $stat != *") Z "* ]]; then echo "$number $(cat "$file")"; fi
done
exit 0
"""


class SlurmCommands:
    """`sbatch`, `scancel` and `squeue`, first in PATH."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "jobs").mkdir()
        for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL), ("squeue", SQUEUE)):
            (folder / name).write_text(text.replace("{folder}", str(folder)), encoding="utf-8")
            (folder / name).chmod(0o755)
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(REPOSITORY))

    def jobs(self) -> list[int]:
        """Numbers of all jobs there have been."""
        return sorted(int(file.name) for file in (self.folder / "jobs").iterdir())

    def kill(self, number: int) -> None:
        """A job ends, without a word to anybody."""
        with suppress(ProcessLookupError):
            os.killpg(number, signal.SIGKILL)
