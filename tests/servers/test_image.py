"""The image, built and run without a hub and without a daemon by the script of deploy/."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import REPOSITORY

TOOLS = ("buildah", "podman", "runc", "debootstrap")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def missing() -> str | None:
    """Why it cannot be built here; None where it can."""
    absent = [name for name in TOOLS if shutil.which(name, path=PATH) is None]
    if absent:
        return f"{', '.join(absent)}: not here (Debian: apt-get install {' '.join(TOOLS)})"
    return None if os.geteuid() == 0 else "debootstrap, and podman with runc, need root"


@pytest.mark.servers
@pytest.mark.timeout(3600)
@pytest.mark.skipif(missing() is not None, reason=f"image: {missing()}")
def test_the_image_stops_on_sigterm_and_reaches_the_report(tmp_path: Path) -> None:
    """LDAS_IMAGE_FOLDER: a folder that keeps base and image for the next time."""
    folder = Path(os.environ.get("LDAS_IMAGE_FOLDER", tmp_path))
    script = REPOSITORY / "deploy" / "build_without_hub.sh"
    done = subprocess.run(
        ["bash", script, folder], env={**os.environ, "PATH": PATH}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "with status 143" in done.stdout
    assert (folder / "work/runs/demo/store_report/index.html").stat().st_size > 0
