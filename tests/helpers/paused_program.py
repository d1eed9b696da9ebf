"""`ldas`, which waits at the n-th call of a function: paused_program MODULE:FUNCTION N MARKER ARGUMENTS

MARKER is a file that appears when it is there. With N negative, it does not let itself be interrupted there.
"""

import importlib
import itertools
import sys
import time
from pathlib import Path
from typing import Any

from ldas.pipeline import program


def main() -> None:
    """Patches, then runs the program."""
    where, number, marker = sys.argv[1:4]
    sys.argv = ["ldas", *sys.argv[4:]]
    module, _, name = where.partition(":")
    patched = importlib.import_module(module)
    original, calls = getattr(patched, name), itertools.count(1)

    def paused(*arguments: Any, **named: Any) -> Any:
        if next(calls) == abs(int(number)):
            Path(marker).touch()
            while True:
                try:
                    time.sleep(60)
                except SystemExit:
                    if int(number) > 0:
                        raise
        return original(*arguments, **named)

    setattr(patched, name, paused)
    program.main()


if __name__ == "__main__":
    main()
