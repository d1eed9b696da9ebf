"""What a user can do about an error of the system or of a library; and terminals that show ASCII only."""

import codecs
import os
import re
import sys
import unicodedata

# Packages of which an error is about what they were asked to reach: a store, a bucket, a server, credentials.
REMOTE = frozenset(
    {
        "adlfs",
        "aiobotocore",
        "aiohttp",
        "azure",
        "botocore",
        "fsspec",
        "gcsfs",
        "google",
        "icechunk",
        "requests",
        "s3fs",
    }
)
# Signs that are shown in another way where a terminal has no better.
_PLAIN = {
    **dict.fromkeys("–—−‑─━", "-"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("‘’", "'"),
    **{"×": "x", "·": ".", "…": "...", "°": " deg", "²": "2", "³": "3", "•": "*", "≤": "<=", "≥": ">=", "→": "->"},
}
_HOME = re.compile(r"(--[a-z-]+=)?(~.*)", re.DOTALL)


def advice(error: BaseException) -> str | None:
    """What to do about an error that this software did not raise itself; None where it must be a bug in ldas."""
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name} is needed and not installed: docs/running.md names the extra that has it"
    package = type(error).__module__.partition(".")[0]
    if package in REMOTE:
        return f"{package}: {type(error).__name__}: {error}; check address, credentials and network"
    if isinstance(error, OSError) and error.errno is not None:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{os.strerror(error.errno)}; check that it is there, and that you may read and write it"
    if isinstance(error, MemoryError):
        return "the memory is full: set execution.cells_per_block or execution.days_per_period lower"
    return None


def expanded(arguments: list[str]) -> list[str]:
    """Arguments of a command with `~` for the home folder, also where a shell leaves it: `--out=~/run`."""
    found = []
    for argument in arguments:
        match = _HOME.fullmatch(argument)
        found.append(argument if match is None else (match[1] or "") + os.path.expanduser(match[2]))
    return found


def use_plain_signs() -> None:
    """Output that a terminal cannot encode becomes the nearest plain text, instead of an error."""
    codecs.register_error("ldas", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="ldas")


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    encoding = error.encoding
    text = "".join(_as_plain(sign) for sign in error.object[error.start : error.end])
    return text.encode(encoding, "replace").decode(encoding), error.end


def _as_plain(sign: str) -> str:
    """`é` as `e`, a narrow space as a space, `–` as `-`."""
    if sign in _PLAIN:
        return _PLAIN[sign]
    return unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode() or "?"
