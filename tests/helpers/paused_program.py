"""`ldas`, which waits at the n-th call of a function.

    python -m tests.helpers.paused_program MODULE:FUNCTION N MARKER ARGUMENTS
    python -m tests.helpers.paused_program --serve

MARKER is a file that appears when it is there. With N negative, it does not let itself be interrupted there. With
`--serve`, each line of standard input is such a list of words with a folder before it, as JSON: the answer is the id
of a process that does it there, forked when everything is imported. An empty line waits for the last one and
answers its exit status.
"""

import importlib
import itertools
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ldas.pipeline import program


def run(where: str, number: str, marker: str, *arguments: str) -> None:
    """Patches, then runs the program."""
    sys.argv = ["ldas", *arguments]
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


def forked(folder: str, words: list[str]) -> int:
    """The process that does it, in a group of its own, with its output in the folder."""
    process = os.fork()
    if process:
        return process
    os.setpgid(0, 0)
    os.chdir(folder)
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(os.devnull if number == 0 else name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
    run(*words)
    sys.exit(0)


def serve() -> None:
    """Imports what takes long once, for all that follow."""
    for name in ("cli", "commands.run", "commands.demo", "site.run", "tables.train", "tables.analyse", "ingest"):
        importlib.import_module(f"ldas.pipeline.{name}")
    process = 0
    for line in sys.stdin:
        if line.strip():
            assert threading.active_count() == 1
            process = forked(*json.loads(line))
            print(process, flush=True)
        else:
            print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        run(*sys.argv[1:])
