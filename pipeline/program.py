"""The program `ldas`, as its console script calls it."""

import sys
from typing import NoReturn

from ldas.pipeline.execution.signals import Interrupted, end, take_signals, tell


def main() -> NoReturn:
    """Entry point of the console script."""
    try:
        take_signals()
        # Imported here, when signals are taken already: it takes some tenths of a second.
        from ldas.pipeline.cli import main as command

        command()
    except Interrupted as interrupted:
        tell(interrupted.number)
        end(interrupted.number)
    sys.exit(0)


if __name__ == "__main__":
    main()
