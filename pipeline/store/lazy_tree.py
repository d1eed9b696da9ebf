"""A tree of datasets that asks for its groups and their arrays when they are first used, then keeps them.

It rests on what xarray keeps of a node, which is private: with a version that keeps other things, a tree is filled when
it is made.
"""

from collections.abc import Callable
from threading import RLock
from typing import Any, Protocol

import xarray as xr

# What xarray keeps of a node: of its dataset, and of the nodes below it.
_DATA = ("_data_variables", "_node_coord_variables", "_node_dims", "_node_indexes", "_attrs", "_encoding", "_close")
_CHILDREN = "_children"
_OTHERS = ("_name", "_parent", "_cache")
_IS_AS_KNOWN = {*xr.DataTree.__slots__} == {*_DATA, _CHILDREN, *_OTHERS} and hasattr(xr.DataTree, "_set_node_data")
_one_at_a_time = RLock()  # threads that ask for the same node at the same time get the same one


class Source(Protocol):
    """Where a node has its content from."""

    def dataset(self) -> xr.Dataset:
        """Its own dataset; asked for once."""

    def children(self) -> list[str]:
        """Names of all that is below it."""

    def child(self, name: str) -> "Source | None":
        """One of those, without looking at the others; None where there is none of that name."""


class LazyTree(xr.DataTree):
    """A `DataTree` whose nodes are filled when they are first used; copies and results are filled as any other."""

    __slots__ = ()
    # Of an instance, until it is filled.
    _source_of_data: Source | None = None
    _source_of_children: Source | None = None
    _children_found: dict[str, "LazyTree"]

    def get(self, key: str, default: Any = None) -> Any:
        """See `xarray.DataTree`."""
        child = self._find_child(key)
        return super().get(key, default) if child is None else child

    def _open_dataset(self) -> None:
        with _one_at_a_time:
            if (source := self._source_of_data) is not None:
                dataset = source.dataset()
                self._source_of_data = None
                self._set_node_data(dataset)

    def _find_child(self, name: str) -> "LazyTree | None":
        with _one_at_a_time:
            if (source := self._source_of_children) is None:
                return None
            if name not in self._children_found and (found := source.child(name)) is not None:
                child = _lazy_node(found)
                child._source_of_data = found
                child._name, child._parent = name, self
                self._children_found[name] = child
            return self._children_found.get(name)

    def _find_children(self) -> None:
        with _one_at_a_time:
            if (source := self._source_of_children) is not None:
                children = {name: self._find_child(name) for name in source.children()}
                self._source_of_children = None
                self._children: Any = children


def lazy_tree(source: Source) -> xr.DataTree:
    """A tree of what is below a source; its root has no dataset."""
    return _lazy_node(source) if _IS_AS_KNOWN else xr.DataTree(children=_filled(source))


def _filled(source: Source) -> dict[str, xr.DataTree]:
    """What is below a source, read at once."""
    found = {name: source.child(name) for name in source.children()}
    return {name: xr.DataTree(one.dataset(), _filled(one)) for name, one in found.items() if one is not None}


def _lazy_node(source: Source) -> LazyTree:
    root = LazyTree()
    root._source_of_children, root._children_found = source, {}
    return root


def _filled_on_use(name: str, fill: Callable[[LazyTree], None]) -> property:
    slot: Any = getattr(xr.DataTree, name)

    def value(node: LazyTree) -> Any:
        fill(node)
        return slot.__get__(node)

    return property(value, slot.__set__)


if _IS_AS_KNOWN:
    for _name in _DATA:
        setattr(LazyTree, _name, _filled_on_use(_name, LazyTree._open_dataset))
    setattr(LazyTree, _CHILDREN, _filled_on_use(_CHILDREN, LazyTree._find_children))
