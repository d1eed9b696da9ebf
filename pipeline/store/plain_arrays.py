"""What an array of a store may be: numbers in codecs that are known to run nothing."""

import json
from collections.abc import Iterator
from copy import copy
from functools import lru_cache
from typing import Any

import zarr
from zarr.core.buffer import Buffer
from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata

from ldas.pipeline.errors import StoreError

PLAIN_KINDS = "fiub"
_SAFE_CODECS_V2 = frozenset({"zlib", "gzip", "bz2", "lzma", "zstd", "lz4", "blosc", "shuffle", "delta", "crc32"})
_SAFE_CODECS = frozenset({"bytes", "zstd", "gzip", "blosc", "crc32c", "transpose", "sharding_indexed"})


def check_plain_array(array: zarr.Array) -> None:
    """Raises StoreError for another type, Zarr format or codec."""
    check_plain_metadata(array.metadata, array.path)


def check_plain_metadata(metadata: ArrayV2Metadata | ArrayV3Metadata, path: str) -> None:
    """As `check_plain_array`, of what describes an array."""
    content, dtype = metadata.to_dict(), metadata.dtype.to_native_dtype()
    if content.get("zarr_format") != 3 or dtype.kind not in PLAIN_KINDS:
        raise StoreError(f"array '{path}' holds {dtype} (Zarr v{content.get('zarr_format')}): only numbers are read")
    unknown = set(_codec_names(content.get("codecs", ()))) - _SAFE_CODECS
    if unknown:
        raise StoreError(f"array '{path}' uses the codecs {', '.join(sorted(unknown))}, which ldas does not run")


def plain_metadata(document: Buffer, path: str) -> ArrayV3Metadata:
    """What describes an array, from its stored form, once it is certain that it is an array, and a plain one."""
    shared, attributes = _understood(document.to_bytes(), path)
    metadata = copy(shared)
    object.__setattr__(metadata, "attributes", json.loads(attributes))  # of this array alone: they may be changed
    return metadata


@lru_cache(maxsize=4096)
def _understood(document: bytes, path: str) -> tuple[ArrayV3Metadata, str]:
    """The metadata of a plain array, and its attributes as JSON. A task asks for the same few hundred arrays again and
    again, and Zarr takes most of the time of a small read or write to understand what describes them."""
    content = json.loads(document)
    if content.get("node_type") != "array":
        raise StoreError(f"'{path}' is a group, an array was expected")
    attributes = json.dumps(content.pop("attributes", {}))
    metadata = ArrayV3Metadata.from_dict(content)
    check_plain_metadata(metadata, path)
    return metadata, attributes


def is_plain_input(array: zarr.Array) -> bool:
    """Whether an array of another program's store holds numbers in codecs that run nothing: Zarr v2 is read there."""
    content: dict[str, Any] = dict(array.metadata.to_dict())
    if content.get("zarr_format") == 3:
        names = set(_codec_names(content.get("codecs", ()))) - _SAFE_CODECS
    else:
        codecs = [content.get("compressor"), *(content.get("filters") or ())]
        names = {str(codec["id"]) for codec in codecs if codec is not None} - _SAFE_CODECS_V2
    return not names and array.dtype.kind in PLAIN_KINDS


def _codec_names(codecs: Any) -> Iterator[str]:
    for codec in codecs:
        yield str(codec["name"])
        inner = codec.get("configuration", {})
        yield from _codec_names(inner.get("codecs", ()))
        yield from _codec_names(inner.get("index_codecs", ()))
