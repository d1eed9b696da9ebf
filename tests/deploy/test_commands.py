"""The commands of the compose file as plain processes on loopback: scheduler, a worker and a run."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ldas.pipeline.settings.experiment import load_experiment
from ldas.pipeline.store.arrays import open_store, read_region
from tests.helpers.small_store import write_experiment
from tests.support import REPOSITORY


class Services:
    """Services of the compose file, each command started beside this Python with names and ports of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        content = yaml.safe_load((REPOSITORY / "deploy" / "compose" / "compose.yaml").read_text(encoding="utf-8"))
        self.services: dict[str, Any] = content["services"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])

    def start(self, name: str) -> subprocess.Popen[str]:
        """Starts the command of a service."""
        here = {":8787": "127.0.0.1:0", "/tmp": str(self.folder), "/experiment/experiment.yaml": str(self.experiment)}
        command = [
            here.get(word, word).replace("8786", self.port).replace("//scheduler:", "//127.0.0.1:")
            for word in self.services[name]["command"]
        ]
        if name == "scheduler":
            command += ["--host", "127.0.0.1"]
        command[0] = str(Path(sys.executable).parent / command[0])
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        with (self.folder / f"{name}-{len(self.processes)}.log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True
            )
        self.processes.append(process)
        return process

    @property
    def experiment(self) -> Path:
        """The experiment file."""
        return self.folder / "experiment.yaml"

    def logs(self) -> str:
        """What all of them said."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Nothing started yet; everything stopped at the end."""
    found = Services(tmp_path)
    yield found
    for process in reversed(found.processes):
        process.terminate()
    for process in reversed(found.processes):
        process.wait(timeout=60)


def test_the_commands_of_the_compose_file_run_an_experiment(services: Services) -> None:
    write_experiment(services.experiment)
    services.start("scheduler")
    services.start("worker")
    assert services.start("run").wait(timeout=240) == 0, services.logs()
    assert "open_loop: done in" in services.logs()
    values = read_region(open_store(load_experiment(services.experiment).location), "runs/open_loop", "WG2")
    assert values.shape == (4, 2)
    assert np.isfinite(values).all()
