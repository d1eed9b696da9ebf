"""The scripts of `findings/`: they are not run here, for they need a network; they are whole, pinned and can be run."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support import REPOSITORY

SCRIPTS = sorted((REPOSITORY / "findings").glob("*.sh"))


def test_the_scripts_pass_shellcheck() -> None:
    assert SCRIPTS
    program = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([str(program), *map(str, SCRIPTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_script_can_be_run_pins_versions_and_does_without_ldas() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in SCRIPTS}
    assert [path.name for path in texts if not os.access(path, os.X_OK)] == []
    assert [path.name for path, text in texts.items() if not re.search(r"[\w-]==\d", text)] == []
    own = re.compile(r"import (ldas|pipeline|landmodel|operators|assim)\b")
    assert [path.name for path, text in texts.items() if own.search(text)] == []
