"""The pipeline: everything of the land data assimilation system that meets the world."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.store import open_run

__all__ = ["open_run"]


def __getattr__(name: str) -> Any:
    """`pipeline.open_run` on first use, so that `import pipeline` and `ldas --help` stay quick."""
    if name == "open_run":
        from pipeline.store import open_run

        return open_run
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
