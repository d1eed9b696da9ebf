"""Stores with versions (Icechunk): a stage becomes visible by one step, when all of it is there.

Everything that a run writes goes, one commit a task, to the branch `in_progress`; when a stage is complete, the branch
`main`, which readers see, is set to it. A task is therefore wholly there or not at all, and a killed run goes on from
its last commit. On stores without versions each function here does nothing.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StoreError

if TYPE_CHECKING:
    from icechunk import Repository, Session
    from zarr.abc.store import Store

    from pipeline.location import Location

PREFIX = "icechunk+"
PROTOCOLS = (f"{PREFIX}file", f"{PREFIX}s3")
VISIBLE, IN_PROGRESS = "main", "in_progress"
# What this thread sees of a store: the session that it writes to, or, for None, the branch in progress.
_views: ContextVar[Mapping[str, "Session | None"]] = ContextVar("views", default={})  # noqa: B039 - never changed in place


@contextmanager
def committed(location: "Location", message: str) -> Iterator[None]:
    """What is written to the store inside the `with` is committed at its end; nothing of it after an error.

    Tasks may do so at the same time, as long as no two of them write the same chunk or the same attributes.
    Raises StoreError when the store cannot be written.
    """
    if not location.has_versions:
        yield
        return
    with _icechunk_errors(location):
        repository = _repository(location, make=True)
        session = repository.writable_session(IN_PROGRESS)
        with _seen(location, session):
            yield
        if session.has_uncommitted_changes:
            with _alone(location):
                session.commit(message, rebase_with=_icechunk(location).ConflictDetector())


@contextmanager
def unfinished(location: "Location") -> Iterator[None]:
    """Inside the `with`, the store is read as the run in progress has it."""
    if not location.has_versions:
        yield
        return
    with _seen(location, None):
        yield


def publish(location: "Location") -> None:
    """Readers see all that is committed."""
    if location.has_versions:
        with _icechunk_errors(location), _alone(location):
            repository = _repository(location)
            repository.reset_branch(VISIBLE, repository.lookup_branch(IN_PROGRESS))


@contextmanager
def published(location: "Location", message: str) -> Iterator[None]:
    """As `committed`, and seen by readers at once, unless a stage is in progress: then together with that stage."""
    if not location.has_versions:
        yield
        return
    with _icechunk_errors(location):
        repository = _repository(location, make=True)
        in_step = repository.lookup_branch(VISIBLE) == repository.lookup_branch(IN_PROGRESS)
    with committed(location, message):
        yield
    if in_step:
        publish(location)


def zarr_store(location: "Location", *, read_only: bool) -> "Store":
    """The Zarr store of the version that this thread sees.

    Raises FileNotFoundError where there is no repository, StoreError for a write outside `committed`.
    """
    views = _views.get()
    session = views.get(location.url)
    if session is None and not read_only:
        raise StoreError(
            f"{location.url} is written by `ldas run` and `ldas ingest` only: choose a store without versions"
        )
    if session is None:
        repository = _repository(location)
        branches = repository.list_branches()
        wanted = IN_PROGRESS if location.url in views and IN_PROGRESS in branches else VISIBLE
        session = repository.readonly_session(wanted)
    return session.store


@contextmanager
def _seen(location: "Location", session: "Session | None") -> Iterator[None]:
    token = _views.set({**_views.get(), location.url: session})
    try:
        yield
    finally:
        _views.reset(token)


@contextmanager
def _icechunk_errors(location: "Location") -> Iterator[None]:
    library = _icechunk(location)
    try:
        yield
    except library.IcechunkError as error:
        reason = " ".join(str(error).strip().splitlines()[:1])
        raise StoreError(
            f"{location.url}: {reason}; what was committed before is safe: check the disk or bucket, then start the "
            "same command again"
        ) from error


def _repository(location: "Location", *, make: bool = False) -> "Repository":
    library = _icechunk(location)
    folder = _folder(location)
    if not make and folder is not None and not folder.exists():
        raise FileNotFoundError(location.url)  # Icechunk would make it
    storage = _storage(location)
    if make:
        if folder is not None:
            _make_folder(folder, location)
        repository = library.Repository.open_or_create(storage)
        if IN_PROGRESS not in repository.list_branches():
            repository.create_branch(IN_PROGRESS, repository.lookup_branch(VISIBLE))
        return repository
    if not library.Repository.exists(storage):
        raise FileNotFoundError(location.url)
    return library.Repository.open(storage)


def _make_folder(folder: Path, location: "Location") -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{location.url} cannot be made: {error.strerror}") from error


def _folder(location: "Location") -> Path | None:
    protocol, _, rest = location.url.partition("://")
    return Path(rest).expanduser().absolute() if protocol == f"{PREFIX}file" else None


def _icechunk(location: "Location") -> Any:
    try:
        import icechunk
    except ImportError as error:
        raise StoreError(f"{location.url} needs the package icechunk: pip install 'ldas[icechunk]'") from error
    return icechunk


def _storage(location: "Location") -> Any:
    library = _icechunk(location)
    folder = _folder(location)
    if folder is not None:
        library.set_logs_filter("error")  # it warns of commits at the same time, which `_alone` excludes
        return library.local_filesystem_storage(str(folder))
    options = dict(location.options)
    endpoint = options.pop("endpoint_url", None) or os.environ.get("AWS_ENDPOINT_URL")
    region = options.pop("region", None) or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    anonymous = bool(options.pop("anon", False))
    if options:
        raise StoreError(
            f"store options {', '.join(sorted(options))}: {location.url} takes endpoint_url, region and anon only"
        )
    bucket, _, prefix = location.url.partition("://")[2].partition("/")
    return library.s3_storage(
        bucket=bucket,
        prefix=prefix,
        region=region,
        endpoint_url=endpoint,
        allow_http=endpoint is not None and endpoint.startswith("http://"),
        force_path_style=endpoint is not None,
        anonymous=anonymous or None,
        from_env=not anonymous or None,
    )


@contextmanager
def _alone(location: "Location") -> Iterator[None]:
    """One commit at a time in a folder: object stores compare before they set a branch, file systems do not."""
    folder = _folder(location)
    if folder is None:
        yield
        return
    import fcntl

    with (folder / "ldas.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
