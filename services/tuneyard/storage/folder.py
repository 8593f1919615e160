"""The object store in a folder: the default on one machine. It is not for folders shared over a network.

`folder_objects` says how objects lie on the disk, `folder_uploads` how uploads do, `http` serves the
signed URLs.
"""

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from tuneyard.storage.errors import ChecksumMismatch, InvalidKey, ObjectExists, ObjectNotFound, UploadNotFound
from tuneyard.storage.folder_files import boot_id, create_once, storage_errors
from tuneyard.storage.folder_objects import FolderObjects
from tuneyard.storage.folder_uploads import FolderUploads
from tuneyard.storage.keys import check_folder, check_key, check_prefix
from tuneyard.storage.signing import SignedRequest, UrlSigner
from tuneyard.storage.store import ObjectData, ObjectInfo, PartList, UploadPart, check_part_number
from tuneyard.storage.transfer import ObjectReader, check_range, utc_now, write_file


class FolderStore:
    """An `ObjectStore` below `root`, which several processes may use at once.

    `public_url` is where the listener of `http.blob_app` is reached; signed URLs begin with it. The
    secret that signs them lies in `root`, readable by its owner alone.
    """

    def __init__(self, root: Path | str, *, public_url: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._root = Path(root)
        self._objects = FolderObjects(self._root)
        self._uploads = FolderUploads(self._root, objects=self._objects, boot=boot_id())
        with storage_errors():
            self._objects.prepare()
            self._uploads.prepare()
            secret = create_once(
                self._root / "signing.key",
                secrets.token_bytes(32),
                mode=0o600,
                staging=self._objects.incoming,
            )
        self._signer = UrlSigner(secret, public_url=public_url, clock=clock)

    def put(
        self, key: str, data: ObjectData, *, sha256: str | None = None, if_absent: bool = False
    ) -> ObjectInfo:
        check_key(key)
        if if_absent and self._find(key) is not None:
            raise ObjectExists(key)
        staged = self._objects.stage(data)
        try:
            if sha256 is not None and staged.sha256 != sha256:
                raise ChecksumMismatch(key)
            with storage_errors():
                return self._objects.commit(key, staged, if_absent=if_absent)
        finally:
            staged.path.unlink(missing_ok=True)

    def put_file(
        self, key: str, path: Path, *, sha256: str | None = None, if_absent: bool = False
    ) -> ObjectInfo:
        with path.open("rb", buffering=0) as file:
            return self.put(key, file, sha256=sha256, if_absent=if_absent)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> ObjectReader:
        return self.open_range(key, offset=offset, length=length)[1]

    def open_range(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> tuple[ObjectInfo, ObjectReader]:
        """What `read` gives, with the object that the bytes belong to."""
        check_range(offset, length)
        with storage_errors():
            descriptor, info = self._objects.open(check_key(key))
        size_bytes = max(0, info.size_bytes - offset)
        file = os.fdopen(descriptor, "rb", buffering=0)

        def read(size: int) -> bytes:
            with storage_errors():
                return file.read(size) or b""

        file.seek(offset)
        return info, ObjectReader(
            read, file.close, size_bytes=size_bytes if length is None else min(length, size_bytes)
        )

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        info, reader = self.open_range(key)
        with reader:
            if not write_file(path, reader, sha256=info.sha256):
                raise ChecksumMismatch(key)
        return info

    def stat(self, key: str) -> ObjectInfo:
        with storage_errors():
            return self._objects.info(check_key(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._list(check_prefix(prefix))

    def delete(self, key: str) -> None:
        with storage_errors():
            self._objects.remove(check_key(key))

    def delete_prefix(self, prefix: str) -> int:
        with storage_errors():
            return sum(self._objects.remove(key) for key in self._objects.walk(check_folder(prefix)))

    def sign_get(self, key: str, *, expires: timedelta, filename: str | None = None) -> str:
        return self._signer.sign("GET", check_key(key), expires=expires, filename=filename)

    def sign_put(self, key: str, *, expires: timedelta) -> str:
        return self._signer.sign("PUT", check_key(key), expires=expires)

    def create_upload(self, key: str, *, part_size_bytes: int) -> str:
        with storage_errors():
            return self._uploads.create(check_key(key), part_size_bytes=part_size_bytes)

    def put_part(self, key: str, upload_id: str, number: int, data: bytes | memoryview) -> UploadPart:
        return self._uploads.put_part(check_key(key), upload_id, number, [data])

    def put_part_stream(self, key: str, upload_id: str, number: int, blocks: Iterable[bytes]) -> UploadPart:
        """`put_part` from a stream in flat memory; this store's own, for its HTTP listener."""
        return self._uploads.put_part(check_key(key), upload_id, number, blocks)

    def list_parts(self, key: str, upload_id: str) -> PartList:
        with storage_errors():
            return self._uploads.parts(check_key(key), upload_id)

    def sign_part(self, key: str, upload_id: str, number: int, *, expires: timedelta) -> str:
        check_part_number(number)
        return self._signer.sign("PUT", check_key(key), expires=expires, upload_id=upload_id, part=number)

    def complete_upload(
        self, key: str, upload_id: str, parts: Sequence[UploadPart], *, sha256: str | None = None
    ) -> ObjectInfo:
        try:
            with storage_errors():
                return self._uploads.complete(check_key(key), upload_id, parts, sha256=sha256)
        except UploadNotFound:
            if sha256 is not None and (made := self._find(key)) is not None and made.sha256 == sha256:
                # The first answer was lost.
                return made
            raise

    def abort_upload(self, key: str, upload_id: str) -> None:
        with storage_errors():
            self._uploads.abort(check_key(key), upload_id)

    def verify(self, method: str, path_and_query: str, *, now: datetime) -> SignedRequest:
        """What a signed URL allows; see `UrlSigner.verify`."""
        return self._signer.verify(method, path_and_query, now=now)

    def sweep(self, *, older_than: timedelta) -> int:
        before = utc_now() - older_than
        with storage_errors():
            return self._objects.sweep(before=before) + self._uploads.sweep(before=before)

    def _find(self, key: str) -> ObjectInfo | None:
        try:
            return self.stat(key)
        except ObjectNotFound:
            return None

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        with storage_errors():
            for key in self._objects.walk(prefix):
                # Another tool's file may have a name that is no key, and a key may be deleted meanwhile.
                with suppress(InvalidKey, ObjectNotFound):
                    yield self._objects.info(check_key(key))
