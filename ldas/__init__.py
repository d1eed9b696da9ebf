"""Open land data assimilation: ISBA-A-gs, neural observation operators and a Kalman filter over chunked Zarr on Dask.

`ldas.open_run(where)` opens a store. The rooms are `ldas.landmodel`, `ldas.operators`, `ldas.assim`, `ldas.pipeline`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ldas.pipeline.store.arrays import open_run

__all__ = ["open_run"]


def __getattr__(name: str) -> Any:
    """`ldas.open_run` on first use, so that `import ldas` and `ldas --help` stay quick."""
    if name == "open_run":
        from ldas.pipeline.store.arrays import open_run

        return open_run
    raise AttributeError(f"module 'ldas' has no attribute {name!r}")
