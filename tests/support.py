"""What several tests need: the shared reference folder, which exists beside the repository in CI only."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("LDAS_SHARED", REPOSITORY.parent / "shared"))


def shared(relative: str) -> Path:
    """Path of a file in the shared folder; skips the test where it is absent (a user's machine)."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs {relative} of the shared reference data (LDAS_SHARED), absent here")
    return path
