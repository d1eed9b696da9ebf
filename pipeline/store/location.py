"""Where a store is: its URL and fsspec options, checked before anything is opened, and never with a secret in them."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fsspec.registry import known_implementations, registry

from ldas.pipeline.errors import StoreError
from ldas.pipeline.store.store_options import check_options

ICECHUNK = "icechunk+"  # before the protocol of the folder or bucket that a repository lies in
ICECHUNK_PROTOCOLS = (f"{ICECHUNK}file", f"{ICECHUNK}s3")

# File systems of fsspec that follow instructions found in data, or start programs: never reached from a URL in a file.
REFUSED_PROTOCOLS = frozenset({"reference", "dask", "jupyter", "jlab", "git", "ssh", "sftp", "generic"})
# Azure's own form: container@account.dfs.core.windows.net; in other clouds the end of the host differs.
_EXTRAS = {"adlfs": "azure", "gcsfs": "gcs"}  # of this package, by the package that reaches the store
_AZURE = frozenset({"abfs", "abfss", "az"})
# What adlfs and azure-identity say first where they find none.
_WITHOUT_CREDENTIALS = ("unable to connect to account", "DefaultAzureCredential failed")
CLOUDS = _AZURE | {"s3", "s3a", "gs", "gcs"}
_AZURE_HOST = re.compile(r"(?P<container>[a-z0-9$][a-z0-9\-]{2,62})@[a-z0-9]{3,24}\.(dfs|blob)\.[a-z0-9.\-]+")
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s'\"<>]*")
_VERSIONS = frozenset({"versionid", "generation", "snapshot"})  # in a query: which version of an object is meant
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


def check_name(name: str, what: str = "name") -> str:
    """A name that becomes part of a path in a store: letters, digits, `_`, `-`, `.`; it cannot lead out of it."""
    if not _SEGMENT.fullmatch(name) or ".." in name:
        raise StoreError(
            f"{what} '{name}' cannot be used in a store: letters, digits, '_', '-' and '.' only, and no '..'"
        )
    return name


def check_path(path: str) -> str:
    """A group path such as `runs/open_loop`, each part checked by `check_name`."""
    for part in path.split("/"):
        check_name(part, f"part of the group path '{path}'")
    return path


def absolute_url(url: str, folder: Path) -> str:
    """The URL of a store that a file in a folder names: relative paths, those of Icechunk too, are from there."""
    prefix = f"{ICECHUNK}file://" if url.startswith(f"{ICECHUNK}file://") else ""
    path = url.removeprefix(prefix)
    return url if "://" in path else f"{prefix}{folder / Path(path).expanduser()}"


def public_url(text: str) -> str:
    """A URL, or a text with URLs in it, without user, password and query: what may be shown and stored."""
    return _URL_IN_TEXT.sub(lambda found: _public(found[0]), text)


def _public(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # such as a bracket that is not closed
        return url.partition("://")[0] + "://"
    named = parts.scheme in _AZURE and _AZURE_HOST.fullmatch(parts.netloc)
    host = parts.netloc if named else parts.netloc.rpartition("@")[2]
    return f"{url.partition('://')[0]}://{host}{parts.path}"


@dataclass(frozen=True)
class Location:
    """A store's URL with its fsspec options; small and picklable, so tasks carry it and open the store themselves."""

    url: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.url:
            raise StoreError("the store URL is empty: give a folder or a URL")
        if "::" in self.url:
            raise StoreError(f"the store URL {public_url(self.url)} chains file systems ('::'): give one plain URL")
        protocol = self.protocol
        known = {*known_implementations, *registry, *ICECHUNK_PROTOCOLS, *_AZURE}
        if protocol in REFUSED_PROTOCOLS or protocol not in known:
            raise StoreError(
                f"stores cannot be opened through '{protocol}://' ({public_url(self.url)}): use a folder, memory://, "
                "s3://, gs:// or abfs://"
            )
        self._check_url()
        check_options(protocol, self.options, lambda text: public_url(text) == text)

    def _check_url(self) -> None:
        if "://" not in self.url or public_url(self.url) == self.url:
            return
        shown = public_url(self.url)
        # Written with its path too: a bracket or quote in it is no credential.
        query = urlsplit(self.url).query if "?" in self.url else ""
        names = [part.partition("=")[0] for part in query.split("&") if part]
        if names and "@" not in self.url.partition("?")[0] and all(name.lower() in _VERSIONS for name in names):
            raise StoreError(
                f"the store URL {shown} carries {', '.join(names)}: that names a version of one object, and a store is "
                "many; leave it out"
            )
        raise StoreError(
            f"the store URL {shown} carries a user, password or query: credentials belong in the "
            "environment (for S3: AWS_ACCESS_KEY_ID and so on, or a profile), never in a file"
        )

    @property
    def protocol(self) -> str:
        """`file`, `memory`, `s3`, ..."""
        return self.url.split("://", 1)[0] if "://" in self.url else "file"

    @property
    def has_versions(self) -> bool:
        """Whether it is an Icechunk repository (`ldas.pipeline.store.icechunk_store`)."""
        return self.protocol in ICECHUNK_PROTOCOLS

    @property
    def shared_between_processes(self) -> bool:
        """Whether several processes see the same store (not so for memory://)."""
        return self.protocol != "memory"

    def joined(self, *parts: str) -> str:
        """URL of something below the store's root."""
        return "/".join([self.url.rstrip("/"), *parts])

    def beside(self, ending: str) -> Path:
        """A folder named after the store: beside a local one, else in the working folder."""
        name = self.url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".zarr") or "run"
        parent = Path(self.url.split("://", 1)[-1]).expanduser().parent
        return (parent if self.protocol in ("file", "local", "icechunk+file") else Path()) / f"{name}{ending}"

    def cannot_be_opened(self, error: Exception) -> StoreError:
        """What to say where a file system says something of its own, or is not here."""
        # Of Azure's three protocols, fsspec knows one by adlfs only.
        known = known_implementations.get("abfs" if self.protocol in _AZURE else self.protocol)
        missing = isinstance(error, ImportError) or str(error).startswith("Protocol not known")
        if missing and known is not None:
            package = known["class"].split(".")[0]
            wanted = f"'ldas[{_EXTRAS[package]}]'" if package in _EXTRAS else package
            return StoreError(
                f"{self.url} is reached through the package {package}, which is not here: pip install {wanted}, for "
                "the run and its workers"
            )
        if self.protocol in _AZURE and str(error).startswith(_WITHOUT_CREDENTIALS):
            return StoreError(
                f"the store at {self.url} cannot be opened: no credentials for Azure were found; set "
                "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, in the "
                "environment of the run and its workers, or log in to Azure and give store.options.account_name"
            )
        return StoreError(
            f"the store at {self.url} cannot be opened: {public_url(str(error))}; check the URL, store.options, and "
            "that the credentials in the environment may read it (and write it, for a run)"
        )


def as_location(where: "str | Path | Location") -> Location:
    """A `Location` of a URL, a path or a `Location`."""
    return where if isinstance(where, Location) else Location(str(where))
