"""The original file of a document. Dify's versions have three routes for it (tests/contract/DIFFERENCES.md, 33)."""

import mimetypes
from email.message import Message
from hashlib import sha256
from typing import Any, Callable, Iterator
from urllib.parse import urlsplit

import requests

from ..errors import DifyFailed, DifyNotFound
from ..languages import Sentence
from ..monitoring import tracing
from .connections import shutdown_of
from .console import ConsoleApi
from .knowledge import KnowledgeApi
from .transport import NETWORK_ERRORS, Transport, expect_success, network_error

Json = dict[str, Any]

CHUNK_SIZE = 64 * 1024
"""The number of bytes of a file that are in memory at a time."""

_AS_ATTACHMENT = "&as_attachment=true"


class RemoteFile:
    """A file that is being downloaded. The caller must close it."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        headers = response.headers
        length = headers.get("Content-Length", "")
        self.name = _filename(headers.get("Content-Disposition", ""))
        """The name of the file; None if Dify did not tell."""
        self.size = int(length) if length.isdecimal() and "Content-Encoding" not in headers else None
        """The number of bytes; None if Dify did not tell, or if the length is that of compressed bytes."""
        self.version = sha256(f"{urlsplit(response.url).path} {self.size}".encode()).hexdigest()[:32]
        """Equal for equal contents. Dify never changes an uploaded file: another content gets another id, which is part
        of the address."""
        guessed = mimetypes.guess_type(self.name)[0] if self.name else None
        self.mime_type = guessed or headers.get("Content-Type", "application/octet-stream")
        """Guessed from the name, because Dify sends every attachment as application/octet-stream (tests/contract,
        documents/download)."""

    def chunks(self) -> Iterator[bytes]:
        """The content. It can be read once.

        :raises DifyUnreachable: the connection broke before the end, or the request was interrupted.
        :raises DifyTimeout: the rest did not come in time.
        """
        try:
            with tracing.current().interruptible(shutdown_of(self._response)):
                yield from tracing.timed(self._response.raw.stream(CHUNK_SIZE, decode_content=True))
        except NETWORK_ERRORS as error:
            raise network_error(error) from error

    def close(self) -> None:
        self._response.close()


class FilesApi:
    """Addresses and contents of original files."""

    def __init__(
        self,
        transport: Transport,
        knowledge: KnowledgeApi,
        console: ConsoleApi,
        files_url: str | None = None,
    ) -> None:
        """
        :param files_url: Dify's FILES_URL, if that is another origin than its API.
        """
        self._transport = transport
        self._knowledge = knowledge
        self._origins = {_origin(url) for url in (transport.base_url, files_url) if url}
        self._routes: tuple[Callable[[str, str], Json], ...] = (
            knowledge.document_download,  # newer than 1.12.1
            knowledge.upload_file,  # up to 1.8.1
            console.document_download,  # 1.12.1
        )

    def locate(self, dataset_id: str, document_id: str) -> Json:
        """The addresses of the original file: `url`, `download_url` or both, signed and valid for minutes. One call.

        The route that worked last is tried first.

        :raises DifyNotFound: there is no such document, or it was not made from a file.
        :raises ConsoleNotConfigured: only the console has the address, and no console login is configured.
        """
        for route in self._routes:
            try:
                found = route(dataset_id, document_id)
            except DifyNotFound as error:
                # For an unknown document Dify sends JSON with a code, for an unknown route an HTML page.
                if error.dify_code is not None:
                    raise
                continue
            self._routes = (route, *(other for other in self._routes if other != route))
            return found
        raise DifyFailed(Sentence("This version of Dify does not hand out the original files."))

    def describe(self, dataset_id: str, document_id: str) -> Json:
        """The original file, in the form of 1.8.1's upload-file.

        One call; two calls where :meth:`locate` finds only the address. Its errors are raised here too.

        :returns: `id`, `name`, `size`, `extension`, `mime_type`, `created_by`, `created_at`, and the addresses as Dify
            gives them: `url` to show the file, `download_url` to save it.
        """
        found = self.locate(dataset_id, document_id)
        if found.get("download_url"):
            return found
        source = self._knowledge.get_document(dataset_id, document_id).get("data_source_info") or {}
        download_url = found["url"]
        # The signature does not cover the parameter as_attachment (tests/contract, documents/preview-url).
        return {
            **(source.get("upload_file") or {}),
            "url": download_url.replace(_AS_ATTACHMENT, ""),
            "download_url": download_url,
        }

    def open_file(self, found: Json) -> RemoteFile:
        """Start to download a file. The caller must close it.

        :param found: an answer of :meth:`locate` or :meth:`describe`.
        :raises DifyNotFound: the address has expired.
        :raises DifyFailed: the address is on a host that is not Dify's.
        """
        url = self._absolute(found.get("download_url") or found["url"])
        return RemoteFile(expect_success(self._transport.send("GET", url)))

    def _absolute(self, url: str) -> str:
        """Complete an address, which is relative unless Dify's FILES_URL is set (tests/contract/README.md, 19).

        :raises DifyFailed: the address is on another host. Our caller would get anything that is there.
        """
        if url.startswith("/") and not url.startswith("//"):
            return self._transport.base_url + url
        if _origin(url) in self._origins:
            return url
        raise DifyFailed(
            Sentence(
                "Dify's address of this file is on another host than DIFY_BASE_URL. If that is right, the operator"
                " should set DIFY_FILES_URL to Dify's own FILES_URL."
            )
        )


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port of an address; None if it is no address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return parts.scheme, parts.hostname, port or {"http": 80, "https": 443}.get(parts.scheme)


def _filename(disposition: str) -> str | None:
    """The file name in a Content-Disposition header; Dify writes it as `filename*=UTF-8''%E7...`."""
    message = Message()
    message["Content-Disposition"] = disposition
    return message.get_filename()
