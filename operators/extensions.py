"""Parts that other packages bring: operators, filters and sources, found by the name of an installed entry point.

A configuration names an entry point of an installed package, never a file or a module: what may run is decided by
the person who installs packages, not by the author of a file.
"""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ldas.landmodel.errors import LdasError


class ExtensionError(LdasError):
    """An entry point that is not installed, cannot be loaded, or is not what its group says."""


def extension_names(group: str) -> list[str]:
    """Names of the installed entry points of a group, such as `ldas.operators`."""
    return sorted({found.name for found in entry_points(group=group)})


@cache
def extension(group: str, name: str, needs: tuple[str, ...], known: tuple[str, ...] = ()) -> Any:
    """What the entry point `name` of a group stands for.

    Args:
        needs: attributes that it must have, or declare.
        known: names beside those that are installed, for the message.

    Raises:
        ExtensionError: nothing of that name is installed, or what is lacks an attribute.
    """
    found = [entry for entry in entry_points(group=group) if entry.name == name]
    if not found:
        raise ExtensionError(
            f"'{name}' is unknown: expected {', '.join((*known, *extension_names(group)))}; others come with a package "
            f"that has an entry point of this name in the group {group}"
        )
    if len({entry.value for entry in found}) > 1:
        raise ExtensionError(f"{_said(found)}: more than one package has the name '{name}'; uninstall one")
    try:
        loaded = found[0].load()
    except Exception as error:  # whatever the code of another package does while it is imported
        raise ExtensionError(f"{_said(found)} cannot be loaded: {type(error).__name__}: {error}") from error
    declared = {name for base in getattr(loaded, "__mro__", ()) for name in vars(base).get("__annotations__", {})}
    missing = [attribute for attribute in needs if not hasattr(loaded, attribute) and attribute not in declared]
    if missing:
        raise ExtensionError(f"{_said(found)} is not one of {group}: it lacks {', '.join(missing)}")
    return loaded


def _said(found: Sequence[EntryPoint]) -> str:
    return f"entry point {found[0].name} of {', '.join(sorted({entry.value for entry in found}))} ({found[0].group})"
