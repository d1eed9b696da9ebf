"""One small text file in a store that is made, and replaced, only if nobody else did so first.

Folders have exclusive creation and atomic renaming for it; S3, Azure and Google conditional requests. Other object
stores, and servers that take a conditional request and do not honour it, have neither: there, the last of those who
wrote at the same time wins, and all of them look again after `SETTLE_S` seconds.
"""

import json
import os
import shutil
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ldas.pipeline.store.retry import tried

SETTLE_S = 3.0
Result = TypeVar("Result")


class Content(NamedTuple):
    """What a file holds, and what tells this version of it from others."""

    text: str
    version: str


class ConditionalFile(ABC):
    """A file of which each version follows from one that its writer has seen."""

    @abstractmethod
    def read(self) -> Content | None:
        """What the file holds; None where there is none."""

    @abstractmethod
    def create(self, text: str) -> str | None:
        """Makes the file; its version, or None where there is one already."""

    @abstractmethod
    def take(self, text: str, seen: Content) -> str | None:
        """Replaces what somebody else wrote; the new version, or None where the file is no longer as it was seen."""

    @abstractmethod
    def renew(self, text: str, mine: Content) -> str | None:
        """Replaces what this process wrote; the new version, or None where somebody else replaced it."""

    @abstractmethod
    def remove(self) -> None:
        """Removes the file, where there is one. Only for its owner, directly after a renewal."""


class FolderFile(ConditionalFile):
    """In a folder, also one of a network: exclusive creation, and a rename by the one who may."""

    def __init__(self, path: Path, owner_of: Callable[[str], str], claim: Callable[["FolderFile", str], None]) -> None:
        """owner_of: a name that a text carries and that no two owners share.

        claim(file, text): makes another file for this process alone, or raises.
        """
        self._path, self._owner_of, self._claim = path, owner_of, claim
        self._made_folder = False

    def read(self) -> Content | None:
        """See `ConditionalFile`."""
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        return Content(text, text)

    def create(self, text: str) -> str | None:
        """See `ConditionalFile`."""
        while True:
            if not self._path.parent.is_dir():
                if self._moved_in(text):
                    return text
                continue  # another process made the folder meanwhile
            try:
                with self._path.open("x", encoding="utf-8") as file:
                    file.write(text)
            except FileExistsError:
                return None
            except FileNotFoundError:  # the folder was removed by another process, which had made it for its own file
                continue
            return text

    def _moved_in(self, text: str) -> bool:
        """Makes the folder with the file in it, at one stroke: who makes the file knows that it made the folder too."""
        folder = self._path.parent
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
        new.mkdir()
        try:
            (new / self._path.name).write_text(text, encoding="utf-8")
            os.rename(new, folder)
        except OSError:
            shutil.rmtree(new)
            if folder.is_dir():
                return False
            raise
        self._made_folder = True
        return True

    def take(self, text: str, seen: Content) -> str | None:
        """See `ConditionalFile`.

        Who has made the file of the claim, named after the owner that is replaced, may rename it over the old one:
        nobody else replaces that owner meanwhile.
        """
        path = self._path.with_name(f"{self._path.name}.{self._owner_of(seen.text) or 'unknown'}")
        claim = FolderFile(path, self._owner_of, self._claim)
        self._claim(claim, text)
        if self.read() != seen:
            claim.remove()
            return None
        os.replace(path, self._path)
        return text

    def renew(self, text: str, mine: Content) -> str | None:
        """See `ConditionalFile`: written into the file that was opened, never into one that replaced it meanwhile."""
        try:
            with self._path.open("r+", encoding="utf-8", errors="replace") as file:
                if self._owner_of(file.read()) != self._owner_of(mine.text):
                    return None
                file.seek(0)
                file.write(text)
                file.truncate()
        except FileNotFoundError:
            return None
        return text

    def remove(self) -> None:
        """See `ConditionalFile`; with the folder, if it was made for the file and nothing else is in it."""
        self._path.unlink(missing_ok=True)
        if self._made_folder:
            with suppress(OSError):  # something is in it
                self._path.parent.rmdir()


class _Requests(ConditionalFile):
    """Through fsspec, by requests that are tried again when the network fails."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        from fsspec.core import url_to_fs

        self._files, self._path = url_to_fs(url, **options)

    def create(self, text: str) -> str | None:
        """See `ConditionalFile`."""
        return self._put_once(text, None)

    def take(self, text: str, seen: Content) -> str | None:
        """See `ConditionalFile`; looked at first, for servers that do not look at conditions."""
        return self._put_once(text, seen.version) if self.read() == seen else None

    def renew(self, text: str, mine: Content) -> str | None:
        """See `ConditionalFile`; looked at first too."""
        found = self.read()
        return self._put(text, found.version) if found is not None and found.text == mine.text else None

    def remove(self) -> None:
        """See `ConditionalFile`."""
        self._files.invalidate_cache()
        if self.read() is not None:
            self._files.rm_file(self._path)

    @abstractmethod
    def _put(self, text: str, version: str | None) -> str | None:
        """Writes the file if it is of that version (None: if there is none); the new version, None if refused."""

    def _put_once(self, text: str, version: str | None) -> str | None:
        """As `_put`; where the same request goes through a second time, the server does not look at conditions."""
        found = self._put(text, version)
        if found is None or self._put(text, version) is None:
            return found
        return self._settled(text)

    def _settled(self, text: str) -> str | None:
        time.sleep(SETTLE_S)
        found = self.read()
        return found.version if found is not None and found.text == text else None


class PlainFile(_Requests):
    """Without conditions: what is seen, and what is still there after a while."""

    def read(self) -> Content | None:
        """See `ConditionalFile`."""
        self._files.invalidate_cache()
        try:
            text = self._files.cat_file(self._path).decode("utf-8", errors="replace")
        except FileNotFoundError:
            return None
        return Content(text, text)

    def _put(self, text: str, version: str | None) -> str | None:
        found = self.read()
        if (None if found is None else found.version) != version:
            return None
        self._files.pipe_file(self._path, text.encode())
        return text

    def _put_once(self, text: str, version: str | None) -> str | None:
        return None if self._put(text, version) is None else self._settled(text)


class MemoryFile(PlainFile):
    """In the memory of this process, one thread at a time."""

    _lock = threading.RLock()

    def _put(self, text: str, version: str | None) -> str | None:
        with self._lock:
            return super()._put(text, version)

    def _put_once(self, text: str, version: str | None) -> str | None:
        return self._put(text, version)


class _Conditions(_Requests):
    """By conditional requests of an object store."""

    #: what the store says to a condition that is not met, by status of HTTP or name of the error
    _REFUSALS: frozenset[object] = frozenset({409, 412})

    def read(self) -> Content | None:
        """See `ConditionalFile`."""
        try:
            return self._done(self._get)
        except FileNotFoundError:
            return None

    def _put(self, text: str, version: str | None) -> str | None:
        try:
            return self._done(lambda: self._write(text.encode(), version))
        except Exception as error:
            if self._refused(error):
                return None
            raise

    def _done(self, request: Callable[[], Awaitable[Result]]) -> Result:
        from fsspec.asyn import sync

        result: Result = sync(self._files.loop, tried, request)
        return result

    @abstractmethod
    async def _get(self) -> Content: ...

    @abstractmethod
    async def _write(self, data: bytes, version: str | None) -> str: ...

    @abstractmethod
    def _refused(self, error: Exception) -> bool: ...


class S3File(_Conditions):
    """S3: `If-None-Match: *` and `If-Match` of a put."""

    async def _get(self) -> Content:
        bucket, key, _ = self._files.split_path(self._path)
        found = await self._files._call_s3("get_object", Bucket=bucket, Key=key)
        async with found["Body"] as body:
            text = (await body.read()).decode("utf-8", errors="replace")
        return Content(text, found["ETag"])

    async def _write(self, data: bytes, version: str | None) -> str:
        bucket, key, _ = self._files.split_path(self._path)
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        found = await self._files._call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition)
        return str(found["ETag"])

    def _refused(self, error: Exception) -> bool:
        codes = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
        response = getattr(error.__cause__ or error, "response", None) or {}
        # A file that is gone is not of the version asked for.
        return response.get("Error", {}).get("Code") in codes | {"NoSuchKey"}


class AzureFile(_Conditions):
    """Azure: `If-None-Match: *` and `If-Match` of a put of a blob."""

    async def _get(self) -> Content:
        from azure.core.exceptions import ResourceNotFoundError

        container, blob, _ = self._files.split_path(self._path)
        async with self._files.service_client.get_blob_client(container=container, blob=blob) as client:
            try:
                found = await client.download_blob()
            except ResourceNotFoundError as error:
                raise FileNotFoundError(self._path) from error
            text = (await found.readall()).decode("utf-8", errors="replace")
            return Content(text, found.properties.etag)

    async def _write(self, data: bytes, version: str | None) -> str:
        from azure.core import MatchConditions

        if version is None:
            found = await self._files._pipe_file(self._path, data, overwrite=False)
        else:
            same = {"etag": version, "match_condition": MatchConditions.IfNotModified}
            found = await self._files._pipe_file(self._path, data, **same)
        return str(found["etag"])

    def _refused(self, error: Exception) -> bool:
        return isinstance(error, FileExistsError) or getattr(error, "status_code", None) in self._REFUSALS


class GoogleFile(_Conditions):
    """Google: `ifGenerationMatch` of an upload, 0 for a new object."""

    async def _get(self) -> Content:
        bucket, key, _ = self._files.split_path(self._path)
        found = await self._files._call("GET", "b/{}/o/{}", bucket, key, json_out=True)
        generation = found["generation"]
        _, data = await self._files._call("GET", "b/{}/o/{}", bucket, key, alt="media", generation=generation)
        return Content(data.decode("utf-8", errors="replace"), str(generation))

    async def _write(self, data: bytes, version: str | None) -> str:
        from urllib.parse import quote

        bucket, key, _ = self._files.split_path(self._path)
        # In parts, as gcsfs writes: of an upload in one piece, fake-gcs-server does not look at the condition.
        head = f"--part\r\nContent-Type: application/json\r\n\r\n{json.dumps({'name': key})}\r\n"
        body = f"--part\r\nContent-Type: application/json\r\n\r\n{data.decode()}\r\n--part--"
        found = await self._files._call(
            "POST",
            f"{self._files._location}/upload/storage/v1/b/{quote(bucket)}/o",
            uploadType="multipart",
            headers={"Content-Type": "multipart/related; boundary=part"},
            ifGenerationMatch=version or "0",
            data=(head + body).encode(),
            json_out=True,
        )
        return str(found["generation"])

    def _refused(self, error: Exception) -> bool:
        return isinstance(error, FileExistsError) or getattr(error, "code", None) in self._REFUSALS


CLOUD_FILES: dict[str, type[_Requests]] = {
    "memory": MemoryFile,
    "s3": S3File,
    "s3a": S3File,
    "abfs": AzureFile,
    "abfss": AzureFile,
    "az": AzureFile,
    "gs": GoogleFile,
    "gcs": GoogleFile,
}
