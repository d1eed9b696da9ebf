"""Stores with versions (Icechunk): a stage becomes visible by one step, when all of it is there.

Everything that a run writes goes to the branch `in_progress`, a commit for many tasks (`Uncommitted`); when a stage is
complete, the branch `main`, which readers see, is set to it. A task is therefore wholly there or not at all, and a
killed run resumes from its last commit. On stores without versions each function here does nothing.
"""

import copy
import os
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldas.pipeline.errors import StoreError
from ldas.pipeline.store.guard import guard_of
from ldas.pipeline.store.location import ICECHUNK, Location

if TYPE_CHECKING:
    from icechunk import ForkSession, Repository, RepositoryConfig, Session
    from zarr.abc.store import Store

_MADE_WITHIN_S = 5.0  # what another process may take to make a repository
VISIBLE, IN_PROGRESS = "main", "in_progress"
# A commit writes anew the lists of chunks (manifests) that it changes, and the list of these lists: with so many chunks
# along each dimension in one, both stay small beside the chunks.
_CHUNKS_IN_A_MANIFEST = {"cell": 128, "time": 16}
# What this thread sees of a store: the session that it writes to, or, for None, the branch in progress.
_views: ContextVar[Mapping[str, "Session | None"]] = ContextVar("views", default={})  # noqa: B039 - never changed in place


@contextmanager
def committed(location: Location, message: str) -> Iterator[None]:
    """What is written to the store inside the `with` is committed at its end; nothing of it after an error.

    Tasks may do so at the same time, as long as no two of them write the same chunk or the same attributes.

    Raises:
        StoreError: if the store cannot be written.
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
            _check_lease(location)
            with _alone(location):
                session.commit(message, rebase_with=_icechunk(location).ConflictDetector())


class Changes:
    """What a task has written to a store with versions and no commit holds yet: small, it travels between processes.

    The chunks are in the store already; here is only where they belong.
    """

    def __init__(self, session: "ForkSession") -> None:
        self.session = session


@contextmanager
def continued(location: Location, before: Changes | None) -> Iterator[Changes | None]:
    """What is written to the store inside the `with` follows what was written before, and is not committed.

    It is in what the `with` gives, once that is over. `before` stays as it was: a task may be tried again.
    """
    if before is None:
        yield None
        return
    with _icechunk_errors(location):
        session = copy.deepcopy(before.session)
        with _seen(location, session):
            yield Changes(session)
        _check_lease(location)


class Uncommitted:
    """What the tasks of a run have written since its last commit. The run's driver keeps it, and commits it.

    A task gets what it is to see with `base`: the last commit, and the changes of the tasks that it depends on. Its own
    changes come back through `add`; those of a later task of a chain hold those of the earlier ones.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.tasks = 0
        self._changes: dict[Hashable, Changes] = {}
        self._committed: Changes | None = None

    def base(self, chain: Hashable, others: Iterable[Hashable] = ()) -> Changes | None:
        """What the next task of a chain begins with.

        Args:
            others: chains whose changes it is to see too.
        """
        if not self.location.has_versions:
            return None
        begun = self._changes.get(chain) or self._last_commit()
        further = [self._changes[other].session for other in others if other in self._changes]
        if not further:
            return begun
        with _icechunk_errors(self.location):
            session = copy.deepcopy(begun.session)
            session.merge(*further)
        return Changes(session)

    def add(self, chain: Hashable, changes: Changes | None) -> None:
        """The changes of a task that is done."""
        if changes is not None:
            self._changes[chain] = changes
            self.tasks += 1

    def commit(self) -> None:
        """Commits all changes; what follows is based on them, and on what else was committed meanwhile."""
        changes, tasks = self._changes, self.tasks
        self._changes, self.tasks, self._committed = {}, 0, None
        if changes:
            with committed(self.location, f"{tasks} tasks"):
                session = _views.get()[self.location.url]
                assert session is not None
                session.merge(*(one.session for one in changes.values()))

    def _last_commit(self) -> Changes:
        if self._committed is None:
            with _icechunk_errors(self.location):
                self._committed = Changes(_repository(self.location).writable_session(IN_PROGRESS).fork())
        return self._committed


@contextmanager
def unfinished(location: Location) -> Iterator[None]:
    """Inside the `with`, the store is read as the run in progress has it."""
    if not location.has_versions:
        yield
        return
    with _seen(location, None):
        yield


def publish(location: Location) -> None:
    """Readers see all that is committed."""
    if location.has_versions:
        _check_lease(location)
        with _icechunk_errors(location), _alone(location):
            repository = _repository(location)
            repository.reset_branch(VISIBLE, repository.lookup_branch(IN_PROGRESS))


@contextmanager
def published(location: Location, message: str) -> Iterator[None]:
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


def refuse_versions(location: Location) -> None:
    """For commands that commit nothing, before they make anything: StoreError for a store with versions."""
    if location.has_versions:
        raise StoreError(
            f"{location.url} is written by `ldas run` and `ldas ingest` only: choose a store without versions"
        )


def zarr_store(location: Location, *, read_only: bool) -> "Store":
    """The Zarr store of the version that this thread sees.

    Raises:
        FileNotFoundError: if there is no repository.
        StoreError: a write outside `committed`.
    """
    views = _views.get()
    session = views.get(location.url)
    if session is None and not read_only:
        refuse_versions(location)
    if session is None:
        with _icechunk_errors(location):
            repository = _repository(location)
        branches = repository.list_branches()
        wanted = IN_PROGRESS if location.url in views and IN_PROGRESS in branches else VISIBLE
        session = repository.readonly_session(wanted)
    return session.store


@contextmanager
def _seen(location: Location, session: "Session | None") -> Iterator[None]:
    token = _views.set({**_views.get(), location.url: session})
    try:
        yield
    finally:
        _views.reset(token)


def _check_lease(location: Location) -> None:
    guard = guard_of(location)
    if guard is not None:
        guard.check()


@contextmanager
def _icechunk_errors(location: Location) -> Iterator[None]:
    library = _icechunk(location)
    try:
        yield
    except (library.ConflictError, library.RebaseFailedError) as error:
        raise StoreError(
            f"{location.url}: another writer changed the same part of the store; what was committed before is safe: "
            "see that one run at a time writes it, then start the same command again"
        ) from error
    except library.IcechunkError as error:
        reason = " ".join(str(error).strip().splitlines()[:1]).removeprefix("x ")
        if " format" in reason:  # such as `this repository uses Icechunk v2 format`
            raise StoreError(
                f"{location.url}: {reason}: it was written by another version of Icechunk than {library.__version__}, "
                "which is here; use that version, or write a new store"
            ) from error
        raise StoreError(
            f"{location.url}: {reason}; what was committed before is safe: check the disk or bucket, then start the "
            "same command again"
        ) from error


def prepare(location: Location) -> None:
    """Makes the repository, where there is none; on stores without versions, nothing."""
    if location.has_versions:
        with _icechunk_errors(location):
            _repository(location, make=True)


def _repository(location: Location, *, make: bool = False) -> "Repository":
    library = _icechunk(location)
    folder = _folder(location)
    if not make and folder is not None and not folder.exists():
        raise FileNotFoundError(location.url)  # Icechunk would make it
    if make and folder is not None:
        _make_folder(folder, location)
    storage = _storage(location)
    try:
        repository = _opened(library, storage)
    except FileNotFoundError:
        if not make:
            raise FileNotFoundError(location.url) from None
        try:
            repository = library.Repository.create(storage, config=_configuration(library))
        except library.IcechunkError:  # another process is making it, or the folder holds something else
            repository = _made_by_another(library, storage, location)
    if make and IN_PROGRESS not in repository.list_branches():
        with suppress(library.IcechunkError):  # made by another process meanwhile
            repository.create_branch(IN_PROGRESS, repository.lookup_branch(VISIBLE))
    return repository


def _made_by_another(library: Any, storage: Any, location: Location) -> "Repository":
    last = time.monotonic() + _MADE_WITHIN_S
    while time.monotonic() < last:
        with suppress(FileNotFoundError):
            return _opened(library, storage)
        time.sleep(0.1)
    raise StoreError(f"{location.url} is not empty and holds no repository: choose a new folder or prefix")


def _configuration(library: Any) -> "RepositoryConfig":
    along = library.ManifestSplitDimCondition.DimensionName
    sizes = {along(name): chunks for name, chunks in _CHUNKS_IN_A_MANIFEST.items()}
    splitting = library.ManifestSplittingConfig.from_dict({library.ManifestSplitCondition.AnyArray(): sizes})
    return library.RepositoryConfig(manifest=library.ManifestConfig(splitting=splitting))


def _opened(library: Any, storage: Any) -> "Repository":
    """The repository; FileNotFoundError where there is none.

    Asked for by opening: `Repository.exists` takes one of a newer format for absent.
    """
    try:
        return library.Repository.open(storage, config=_configuration(library))
    except library.IcechunkError as error:
        if "repository doesn't exist" in str(error):
            raise FileNotFoundError from error
        raise


def _make_folder(folder: Path, location: Location) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{location.url} cannot be made: {error.strerror}") from error


def _folder(location: Location) -> Path | None:
    protocol, _, rest = location.url.partition("://")
    return Path(rest).expanduser().absolute() if protocol == f"{ICECHUNK}file" else None


def _icechunk(location: Location) -> Any:
    try:
        import icechunk
    except ImportError as error:
        raise StoreError(f"{location.url} needs the package icechunk: pip install 'ldas[icechunk]'") from error
    return icechunk


def bare_location(location: Location) -> Location:
    """The folder or bucket that the repository lies in, for fsspec."""
    url = location.url.removeprefix(ICECHUNK)
    settings = _s3_settings(location) if _folder(location) is None else {}
    endpoint, region, anonymous = (settings.get(name) for name in ("endpoint_url", "region", "anon"))
    options = {"endpoint_url": endpoint, "anon": anonymous, "client_kwargs": region and {"region_name": region}}
    return Location(url, {name: value for name, value in options.items() if value})


def _s3_settings(location: Location) -> dict[str, Any]:
    """Endpoint, region and anonymity, from the options or the environment."""
    options = location.options
    return {
        "endpoint_url": options.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL"),
        "region": options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        "anon": bool(options.get("anon", False)),
    }


def _storage(location: Location) -> Any:
    library = _icechunk(location)
    folder = _folder(location)
    if folder is not None:
        library.set_logs_filter("error")  # it warns of commits at the same time, which `_alone` excludes
        return library.local_filesystem_storage(str(folder))
    settings = _s3_settings(location)
    endpoint, anonymous = settings["endpoint_url"], settings["anon"]
    bucket, _, prefix = location.url.partition("://")[2].partition("/")
    return library.s3_storage(
        bucket=bucket,
        prefix=prefix,
        region=settings["region"],
        endpoint_url=endpoint,
        allow_http=endpoint is not None and endpoint.startswith("http://"),
        force_path_style=endpoint is not None,
        anonymous=anonymous or None,
        from_env=not anonymous or None,
    )


@contextmanager
def _alone(location: Location) -> Iterator[None]:
    """One commit at a time in a folder: object stores compare before they set a branch, file systems do not."""
    folder = _folder(location)
    if folder is None:
        yield
        return
    import fcntl

    with (folder / "ldas.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
