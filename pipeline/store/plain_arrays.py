"""What an array of a store may be: numbers in codecs that are known to run nothing."""

from collections.abc import Iterator
from typing import Any

import zarr

from ldas.pipeline.errors import StoreError

PLAIN_KINDS = "fiub"
_SAFE_CODECS = frozenset({"bytes", "zstd", "gzip", "blosc", "crc32c", "transpose", "sharding_indexed"})


def check_plain_array(array: zarr.Array) -> None:
    """Raises StoreError for another type, Zarr format or codec."""
    content = array.metadata.to_dict()
    if content.get("zarr_format") != 3 or array.dtype.kind not in PLAIN_KINDS:
        raise StoreError(
            f"array '{array.path}' holds {array.dtype} (Zarr v{content.get('zarr_format')}): only numbers are read"
        )
    unknown = set(_codec_names(content.get("codecs", ()))) - _SAFE_CODECS
    if unknown:
        raise StoreError(f"array '{array.path}' uses the codecs {', '.join(sorted(unknown))}, which ldas does not run")


def _codec_names(codecs: Any) -> Iterator[str]:
    for codec in codecs:
        yield str(codec["name"])
        inner = codec.get("configuration", {})
        yield from _codec_names(inner.get("codecs", ()))
        yield from _codec_names(inner.get("index_codecs", ()))
