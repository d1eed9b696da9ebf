"""One store, one writer: a lease in the store, which every command that writes takes before it prepares anything.

The lease is a file at the root of the store that says who writes; its holder renews it every `EXPIRY_S / 6` seconds. A
second writer is refused. A holder that has ended without giving it up is replaced: at once where its process is seen to
be gone, else after its file did not change for `EXPIRY_S` seconds on the clock of the one who waits, so that clocks of
different machines need not agree. Readers take no lease.

A holder that was paused or cut off, and replaced meanwhile, learns it before its next write and stops (LeaseLostError):
the writable stores of `ldas.pipeline.store.opening` ask `Guard.check` first. At most the one object whose writing had
begun when it was paused is still written. Tasks on workers carry the lease's owner: one that outlives its run stops at
its next write, at most `EXPIRY_S / 6` seconds late.
"""

import hashlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ldas.landmodel.errors import LdasError
from ldas.pipeline.errors import LeaseLostError, StoreInUseError
from ldas.pipeline.store import icechunk_store
from ldas.pipeline.store.conditional import CLOUD_FILES, ConditionalFile, Content, FolderFile, PlainFile
from ldas.pipeline.store.guard import NAME, guards
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.opening import require_room
from ldas.pipeline.store.retry import is_hopeless, not_writable

EXPIRY_S = 60.0
Message = Callable[[str], None]


@dataclass(frozen=True)
class Record:
    """What the file of a lease says."""

    owner: str  #: of this lease alone
    writer: str  #: what writes, such as `the run of 'demo'`
    host: str
    process: int
    started: str  #: start of the process, as the system counts it; empty where that is not known
    machine: str  #: the same for processes that see each other's numbers
    since: str
    seen: str  #: the last renewal
    expiry_s: float
    renewals: int = 0

    @classmethod
    def of_this_process(cls, writer: str) -> "Record":
        """A new one."""
        now = _now()
        return cls(
            owner=uuid.uuid4().hex,
            writer=writer,
            host=socket.gethostname(),
            process=os.getpid(),
            started=_start_of(os.getpid()) or "",
            machine=_machine(),
            since=now,
            seen=now,
            expiry_s=EXPIRY_S,
        )

    @classmethod
    def from_text(cls, text: str) -> "Record":
        """The record of a file; of one that was never wholly written, one that says that nothing is known."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return cls("", "another process", "an unknown host", 0, "", "", "an unknown time", "", EXPIRY_S)

    def as_text(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def __str__(self) -> str:
        return f"{self.writer} on {self.host} (process {self.process}) since {self.since}"

    @property
    def outlook(self) -> str:
        """What the next writer can expect."""
        if self.has_ended:
            return "it has ended without giving up the store, which the next run takes over"
        return f"last seen {self.seen}; another run is refused until it has ended"

    @property
    def has_ended(self) -> bool:
        """Whether its process is of this machine and gone."""
        if not self.machine or self.machine != _machine():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # of another user
            pass
        return _start_of(self.process) not in (self.started, "")

    @property
    def seen_here_lately(self) -> bool:
        """Whether it was renewed within its expiry, by the clock of this same machine."""
        if not self.machine or self.machine != _machine():
            return False
        age = datetime.now(UTC) - datetime.fromisoformat(self.seen)
        return 0 <= age.total_seconds() < self.expiry_s


class _Lease:
    """A lease that this process holds, renewed by a thread until it is given up."""

    def __init__(self, location: Location, file: ConditionalFile, record: Record, version: str) -> None:
        self.location, self.record = location, record
        self._file, self._version = file, version
        self._renewed = _clocks()
        self._lost: LeaseLostError | None = None
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew_now_and_then, name="ldas-lease", daemon=True)
        self._thread.start()

    @property
    def is_fresh(self) -> bool:
        """See `Guard`: nobody can have replaced a lease that was renewed less than half its expiry ago."""
        return self._lost is None and _since(self._renewed) < self.record.expiry_s / 2

    def check(self) -> None:
        """See `Guard`."""
        if not self.is_fresh:
            self._renew()

    def give_up(self) -> None:
        """Removes the file, if it still is this lease's; what cannot be reached is left to expire."""
        self._end.set()
        self._thread.join()
        with suppress(LdasError, OSError):
            self._renew()
            self._file.remove()

    def _renew_now_and_then(self) -> None:
        while not self._end.wait(self.record.expiry_s / 6):
            try:
                self._renew()
            except LeaseLostError:
                return
            except Exception:  # the network: `check` says it, if it lasts
                continue

    def _renew(self) -> None:
        with self._lock:
            if self._lost is not None:
                raise self._lost
            began = _clocks()
            new = replace(self.record, seen=_now(), renewals=self.record.renewals + 1)
            version = self._file.renew(new.as_text(), Content(self.record.as_text(), self._version))
            if version is None:
                found = self._file.read()
                if found is None or Record.from_text(found.text).owner != self.record.owner:
                    self._lost = lost(self.location, self.record, found)
                    raise self._lost
                version = found.version  # a request that was repeated after it had taken effect
            self.record, self._version, self._renewed = new, version, began


@dataclass(frozen=True)
class _Borrowed:
    """The lease of the run that a task belongs to, looked at from a worker now and then."""

    location: Location
    owner: str
    expiry_s: float

    @property
    def is_fresh(self) -> bool:
        """See `Guard`."""
        if (own := _held_here.get(self.owner)) is not None:
            return own.is_fresh
        looked = _looked.get(self.owner)
        return looked is not None and _since(looked) < self.expiry_s / 6

    def check(self) -> None:
        """See `Guard`."""
        if (own := _held_here.get(self.owner)) is not None:
            own.check()
        elif not self.is_fresh:
            began = _clocks()
            found = _file_of(self.location).read()
            if found is None or Record.from_text(found.text).owner != self.owner:
                raise lost(self.location, None, found)
            _looked[self.owner] = began


_held_here: dict[str, _Lease] = {}  # by owner: tasks on threads of the process that holds the lease
_looked: dict[str, tuple[float, float]] = {}  # by owner: when a worker last saw that the lease is held


@contextmanager
def held(location: Location, writer: str, message: Message = lambda text: None) -> Iterator[None]:
    """Inside the `with`, this command alone writes the store. Taken again by the holder itself, nothing changes.

    Args:
        writer: what writes, for messages to others.

    Raises:
        StoreInUseError: if somebody else writes; names the holder.
        ExecutionError: a store that may not be written.
    """
    if location.url in guards.get():
        yield
        return
    lease = _taken(location, writer, message)
    _held_here[lease.record.owner] = lease
    token = guards.set({**guards.get(), location.url: lease})
    try:
        yield
    finally:
        guards.reset(token)
        lease.give_up()
        del _held_here[lease.record.owner]


def owner_of(location: Location) -> tuple[str, float] | None:
    """What a task needs for `borrowed`; None where no lease is held, as in a program of the user."""
    lease = guards.get().get(location.url)
    return (lease.record.owner, lease.record.expiry_s) if isinstance(lease, _Lease) else None


@contextmanager
def borrowed(location: Location, owner: tuple[str, float] | None) -> Iterator[None]:
    """Inside the `with`, a task writes as long as the run that it belongs to holds the lease."""
    if owner is None:
        yield
        return
    token = guards.set({**guards.get(), location.url: _Borrowed(location, *owner)})
    try:
        yield
    finally:
        guards.reset(token)


def holder(location: Location) -> Record | None:
    """Who writes the store now, as far as its lease tells; None for nobody."""
    with _store_errors(location):
        found = _file_of(location).read()
    return None if found is None else Record.from_text(found.text)


def lost(location: Location, record: Record | None, found: Content | None) -> LeaseLostError:
    """The error of a holder that was replaced."""
    by = f"is now written by {Record.from_text(found.text)}" if found else "was written by another run meanwhile"
    expiry = record.expiry_s if record is not None else EXPIRY_S
    return LeaseLostError(
        f"{location.url} {by}: this run was paused or cut off from the store for more than {expiry:g} s; it has "
        "stopped and writes nothing more"
    )


def _taken(location: Location, writer: str, message: Message) -> _Lease:
    record = Record.of_this_process(writer)
    icechunk_store.prepare(location)  # a repository is only made where there is nothing else
    with _store_errors(location):
        require_room(location)
        file = _file_of(location)
        version = _acquired(file, record.as_text(), location, message)
    return _Lease(location, file, record, version)


def _acquired(file: ConditionalFile, text: str, location: Location, message: Message) -> str:
    """Makes the file for the text's owner; the version. StoreInUseError where another owner has it and lives."""
    while True:
        found = file.read()
        if found is None:
            version = file.create(text)
        else:
            other = Record.from_text(found.text)
            if other.owner == Record.from_text(text).owner:
                return found.version  # a request that was repeated after it had taken effect
            _require_dead(file, found, other, location, message)
            version = file.take(text, found)
            if version is not None:
                message(f"{location.url} was left by {other}, which ended without giving it up: taken over")
        if version is not None:
            return version


def _require_dead(file: ConditionalFile, found: Content, record: Record, location: Location, message: Message) -> None:
    """Returns when the holder is certain to be gone; StoreInUseError when it lives."""
    if record.has_ended:
        return
    if not record.seen_here_lately:
        message(
            f"{location.url} is held by {record}; its process cannot be seen from here: watching up to "
            f"{record.expiry_s:g} s for a sign of life"
        )
        began = time.monotonic()
        now: Content | None = found
        while now == found and time.monotonic() - began < record.expiry_s:
            time.sleep(record.expiry_s / 30)
            now = file.read()
        if now == found or now is None:
            return
        record = Record.from_text(now.text)
    raise StoreInUseError(
        f"{location.url} is being written by {record}: a store has one writer; wait until it ends, or stop it "
        "there, then run the same command again (reading is always possible)"
    )


def _file_of(location: Location) -> ConditionalFile:
    protocol, options = location.protocol, dict(location.options)
    if location.has_versions:
        bare = icechunk_store.bare_location(location)
        protocol, url, options = bare.protocol, bare.url, bare.options
    else:
        url = location.url
    if protocol in ("file", "local"):
        folder = Path(url.split("://", 1)[-1]).expanduser()

        def claim(file: FolderFile, text: str) -> None:
            _acquired(file, text, location, lambda text: None)

        return FolderFile(folder / NAME, lambda text: Record.from_text(text).owner, claim)
    return CLOUD_FILES.get(protocol, PlainFile)(f"{url.rstrip('/')}/{NAME}", options)


@contextmanager
def _store_errors(location: Location) -> Iterator[None]:
    """Whatever a file system says: each has error classes of its own."""
    try:
        yield
    except LdasError:
        raise
    except Exception as error:
        if is_hopeless(error):
            raise not_writable(location.url, error) from error
        raise location.cannot_be_opened(error) from error


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.time()


def _since(clocks: tuple[float, float]) -> float:
    """Seconds since then: of the clock that stops while a machine sleeps, or of the one that does not."""
    return max(now - then for now, then in zip(_clocks(), clocks, strict=True))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _machine() -> str:
    """The same for all processes that see each other under the same numbers; empty where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")
        return hashlib.sha256(f"{boot}{os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:16]
    except OSError:
        return ""


def _start_of(process: int) -> str | None:
    """When a process of this machine started, in ticks since its boot; None for one that has ended, empty where the
    system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] in "ZX" else fields[19]
