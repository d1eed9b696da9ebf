"""The program `ldas` as its console script calls it, in the process of the test."""

import sys

import pytest

import ldas.pipeline.cli


def program(*arguments: str) -> int:
    """Its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ldas", *arguments])
        try:
            ldas.pipeline.cli.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0
