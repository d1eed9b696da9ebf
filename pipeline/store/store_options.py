"""What a file may say to a file system: the options that its documentation names, except credentials.

Sources: the documentation of s3fs, gcsfs, adlfs and fsspec (2026), and that of botocore's `Config` for `config_kwargs`.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ldas.pipeline.errors import StoreError

#: names of options: a mapping of its own options for one that has them, None for a plain value
Known = Mapping[str, Any]
IsPublic = Callable[[str], bool]


def _plain(names: str) -> dict[str, None]:
    return dict.fromkeys(names.split())


# Of every file system of fsspec.
_COMMON = _plain("skip_instance_cache use_listings_cache listings_expiry_time max_paths")
_BOTOCORE: Known = {
    **_plain(
        "region_name signature_version connect_timeout read_timeout max_pool_connections "
        "use_dualstack_endpoint use_fips_endpoint tcp_keepalive parameter_validation "
        "request_checksum_calculation response_checksum_validation"
    ),
    "s3": _plain("addressing_style payload_signing_enabled us_east_1_regional_endpoint use_accelerate_endpoint"),
    "retries": _plain("max_attempts total_max_attempts mode"),
    "proxies": _plain("http https"),
}
_S3: Known = {
    **_plain(
        "anon endpoint_url use_ssl requester_pays default_block_size default_fill_cache "
        "default_cache_type version_aware cache_regions max_concurrency fixed_upload_size profile "
        "local_expiry_check"
    ),
    "client_kwargs": _plain("region_name endpoint_url use_ssl verify api_version"),
    "config_kwargs": _BOTOCORE,
    "s3_additional_kwargs": _plain("ServerSideEncryption SSEKMSKeyId BucketKeyEnabled StorageClass ACL RequestPayer"),
}
_GOOGLE: Known = {
    **_plain(
        "project access token block_size consistency cache_timeout secure_serialize check_connection "
        "requests_timeout requester_pays timeout endpoint_url default_location version_aware"
    ),
    "session_kwargs": _plain("trust_env"),
}
_AZURE: Known = _plain(
    "account_name account_host tenant_id client_id anon location_mode blocksize default_fill_cache "
    "default_cache_type version_aware assume_container_exists max_concurrency timeout "
    "connection_timeout read_timeout socket_timeout"
)
_HTTP: Known = {
    **_plain("simple_links block_size same_scheme size_policy cache_type encoded"),
    "client_kwargs": {**_plain("trust_env"), "headers": _plain("User-Agent Accept Referer")},
}
KNOWN: dict[str, Known] = {
    "s3": _S3,
    "s3a": _S3,
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "az": _AZURE,
    "http": _HTTP,
    "https": _HTTP,
    "file": _plain("auto_mkdir"),
    "local": _plain("auto_mkdir"),
    "icechunk+s3": _plain("endpoint_url region anon"),
}
# Of the documentations above: what proves who asks, whatever its spelling.
_CREDENTIALS = _plain(
    "key secret token username password session awsaccesskeyid awssecretaccesskey awssessiontoken "
    "accountkey connectionstring credential credentials sastoken clientsecret requestsession auth "
    "authorization cookies cookie proxyauthorization ssecustomerkey"
)
_WAYS_OF_GOOGLE = ("google_default", "cloud", "anon", "cache", "browser")  # ways to find credentials, not credentials


def check_options(protocol: str, options: Mapping[str, Any], is_public: IsPublic) -> None:
    """Refuses credentials and options that the protocol does not have; their values are never repeated.

    is_public(text): whether a URL holds neither user, password nor query.

    Raises:
        StoreError: options that the protocol does not have.
    """
    known = {**_COMMON, **KNOWN.get(protocol, {})} if not protocol.startswith("icechunk") else KNOWN.get(protocol, {})
    problems = list(_problems(options, known, is_public))
    secret = sorted(name for name, reason in problems if not reason)
    if secret:
        raise StoreError(
            f"store options {', '.join(secret)} are credentials: they belong in the environment of the run "
            "and its workers, never in a file"
        )
    for name, reason in problems:
        raise StoreError(f"store option {name} of {protocol}:// {reason}")


def _problems(
    options: Mapping[str, Any], known: Known, is_public: IsPublic, prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Name of each option that is refused, with the reason; an empty one for credentials."""
    for name, value in options.items():
        full, plain = f"{prefix}{name}", str(name).lower().replace("_", "").replace("-", "")
        if name == "token" and "token" in known and value in _WAYS_OF_GOOGLE:
            continue
        if plain in _CREDENTIALS and value is not None:
            yield full, ""
        elif name not in known:
            yield full, _unknown(str(name), known)
        elif isinstance(value, Mapping) and known[name] is not None:
            yield from _problems(value, known[name], is_public, f"{full}.")
        elif isinstance(value, Mapping | list | tuple):
            yield full, "takes a single value"
        elif isinstance(value, str) and not is_public(value):
            yield full, ""


def _unknown(name: str, known: Known) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return (
        f"is not known: {hint}Known here: {', '.join(sorted(known)) or 'none'}; anything else that the file system "
        "takes is set in fsspec's own configuration (~/.config/fsspec)"
    )
