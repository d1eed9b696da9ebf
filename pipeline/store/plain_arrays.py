"""What an array of a store may be: numbers in codecs that are known to run nothing."""

from collections.abc import Iterator
from typing import Any

import zarr
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
