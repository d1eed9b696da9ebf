"""What made an output: version of the code, configuration, checksums of the inputs, libraries, machine."""

import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import zarr

from ldas.pipeline.store.location import public_url

LIBRARIES = (
    "numpy",
    "numba",
    "scipy",
    "xarray",
    "zarr",
    "dask",
    "distributed",
    "fsspec",
    "tensorflow",
    "tensorflow-cpu",
)

_PATH = re.compile(r"(?:file://)?(?:~[^/\n]*)?/[^\n]+")
_FOLDERS = re.compile(r"(?<![\w.:/])(?:file://)?(?:~[\w.\-]*)?/(?:[^\s'\":,;()<>\[\]{}/]+/)+")


@cache
def code_version() -> str:
    """Version of the package, with the commit and `+changes` when it runs from a checkout."""
    try:
        number = version("ldas")
    except PackageNotFoundError:
        number = "unknown"
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return number
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return number
    return f"{number} ({commit}{'+changes' if changed else ''})"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


@cache
def library_versions() -> dict[str, str]:
    """Versions of the libraries that results can depend on."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def file_checksum(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def group_checksum(group: zarr.Group) -> str:
    """Checksum of a group from the checksums that `groups.write_group` left on its arrays, their shapes and types."""
    parts = {
        name: [str(array.attrs.get("sha256", "")), str(array.dtype), list(array.shape)]
        for name, array in group.arrays()
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def configured(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as it is stored: without where stores and files lie, which has no part in what they hold."""
    kept = {}
    for key, value in configuration.items():
        if key in ("store", "scratch"):
            continue
        if key == "from_url" and value is not None:
            value = name_of(str(value))
        kept[str(key)] = configured(value) if isinstance(value, Mapping) else scrubbed(value)
    return kept


def provenance(configuration: Mapping[str, Any], inputs: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Attributes for a group: `provenance` holds version, configuration, input checksums, libraries and machine."""
    return {
        "provenance": {
            "code": code_version(),
            "configuration": configured(configuration),
            "inputs": dict(inputs or {}),
            "libraries": library_versions(),
            "machine": f"{platform.system()} {platform.machine()}",
        }
    }


def scrubbed(value: Any) -> Any:
    """Plain JSON values; URLs without user, password and query, paths without their folders."""
    if isinstance(value, Mapping):
        return {str(key): scrubbed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(item) for item in value]
    if isinstance(value, str):
        return name_of(value) if _PATH.fullmatch(value) else public_url(value)
    if isinstance(value, Path):
        return scrubbed(str(value))
    return value if isinstance(value, int | float | bool) or value is None else str(value)


def without_places(text: str, url: str) -> str:
    """A message without the URL of its store and the folders of files, which say where a user works."""
    return _FOLDERS.sub("", public_url(text.replace(url, name_of(url))))


def name_of(url: str) -> str:
    """The last part of a path or URL."""
    return public_url(url).rstrip("/").rpartition("/")[2]
