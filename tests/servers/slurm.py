"""A Slurm of one node, from Debian's packages slurm-wlm and munge: daemons in a folder, without systemd and as root."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue", "scontrol", "sinfo")
CONFIGURATION = """\
ClusterName=ldas
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=32000 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why it cannot be started here; None where it can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"{', '.join(absent)}: not here (Debian: apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "its daemons are started as root"
    return None


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Slurm:
    """`with Slurm(folder) as slurm`: a node that takes jobs; at the end no daemon and no job is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        host = socket.gethostname().split(".")[0]
        text = CONFIGURATION.format(host=host, folder=self.folder, controller_port=_free_port(), node_port=_free_port())
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")
        try:
            self._start("munged", "--foreground", "--force", f"--key-file={key}", *self._munge_files())
            wait_for(lambda: (self.folder / "munge.socket").exists(), 30, self.logs)
            self._start("slurmctld", "-D", "-c")
            self._start("slurmd", "-D", "-N", host)
            wait_for(lambda: "idle" in self.call("sinfo", "--noheader", "--format=%T", check=False), 60, self.logs)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call("scancel", "--user=root", check=False)
        wait_for(lambda: not self.jobs(), 60, self.logs)
        self._stop()

    def _munge_files(self) -> list[str]:
        names = {"socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log", "seed-file": "munge.seed"}
        return [f"--{option}={self.folder / name}" for option, name in names.items()]

    def _start(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as out:
            process = subprocess.Popen(
                command, env=self.environment, stdout=out, stderr=subprocess.STDOUT, cwd=self.folder
            )
        self._daemons.append(process)

    def _stop(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=30)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def call(self, *command: str, check: bool = True, cwd: Path | None = None) -> str:
        """Output of one of its commands."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False, cwd=cwd
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, *arguments: str | Path, cwd: Path) -> str:
        """Number of a submitted job."""
        return self.call("sbatch", "--parsable", *map(str, arguments), cwd=cwd).strip()

    def jobs(self) -> dict[str, tuple[str, str]]:
        """Name and state of each job that has not ended, by number."""
        lines = self.call("squeue", "--noheader", "--format=%i %j %T", check=False).splitlines()
        return {number: (name, state) for number, name, state in (line.split() for line in lines)}

    def workers(self) -> list[str]:
        """Numbers of the jobs of workers that run."""
        return [number for number, (name, state) in self.jobs().items() if name == "dask-worker" and state == "RUNNING"]

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        words = self.call("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def ended(self, number: str, seconds: float = 300) -> dict[str, str]:
        """What Slurm knows of a job, when it has ended."""
        wait_for(lambda: number not in self.jobs(), seconds, self.logs)
        return self.job(number)

    def logs(self) -> str:
        """What the daemons and the jobs said last."""
        files = [*self.folder.glob("*.log"), *self.folder.glob("*.out"), *self.folder.parent.glob("*/ldas-*.log")]
        return "\n".join(f"{file}:\n{file.read_text(errors='replace')[-2000:]}" for file in files)


def wait_for(condition: Callable[[], bool], seconds: float, logs: Callable[[], str] = lambda: "") -> None:
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, logs()
        time.sleep(0.5)
