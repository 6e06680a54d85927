"""The original file of a document, by whichever of three ways this Dify knows (DIFFERENCES 33)."""

import mimetypes
from email.message import Message
from typing import Any, Callable, Iterator
from urllib.parse import urlsplit

import requests

from ..errors import DifyFailed, DifyNotFound
from ..monitoring.tracing import Timed
from .console import ConsoleApi
from .knowledge import KnowledgeApi
from .transport import NETWORK_ERRORS, Transport, expect_success, network_error

Json = dict[str, Any]

CHUNK_SIZE = 64 * 1024
"""Bytes of a file that are in memory at a time."""

_AS_ATTACHMENT = "&as_attachment=true"


class RemoteFile:
    """A file that is being downloaded. Close it."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        headers = response.headers
        length = headers.get("Content-Length", "")
        self.name = _filename(headers.get("Content-Disposition", ""))
        """Name of the file; None if Dify did not tell."""
        self.size = int(length) if length.isdecimal() else None
        """Bytes; None if Dify did not tell."""
        guessed = mimetypes.guess_type(self.name)[0] if self.name else None
        self.mime_type = guessed or headers.get("Content-Type", "application/octet-stream")
        """By the name, as Dify calls every attachment application/octet-stream (documents/download)."""

    def chunks(self) -> Iterator[bytes]:
        """The content, once.

        :raises DifyUnreachable: the connection broke before the end.
        :raises DifyTimeout: the rest did not come in time.
        """
        try:
            yield from Timed(self._response.raw.stream(CHUNK_SIZE, decode_content=True))
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
        self._ways: tuple[Callable[[str, str], Json], ...] = (
            knowledge.document_download,  # newer than 1.12.1
            knowledge.upload_file,  # up to 1.8.1
            console.document_download,  # 1.12.1
        )

    def locate(self, dataset_id: str, document_id: str) -> Json:
        """Where the original file is: `url`, `download_url` or both, signed and valid for minutes. One call.

        The way that worked last is tried first.

        :raises DifyNotFound: no such document, or it was not made from a file.
        :raises ConsoleNotConfigured: only the console knows, and there is no login for it.
        """
        for way in self._ways:
            try:
                found = way(dataset_id, document_id)
            except DifyNotFound as error:
                # An unknown document is JSON with a code, an unknown route an HTML page.
                if error.dify_code is not None:
                    raise
                continue
            self._ways = (way, *(other for other in self._ways if other != way))
            return found
        raise DifyFailed("This version of Dify does not hand out the original files.")

    def describe(self, dataset_id: str, document_id: str) -> Json:
        """Facts and addresses of the original file, in the form of 1.8.1's upload-file.

        `id`, `name`, `size`, `extension`, `mime_type`, `created_by`, `created_at`, and, as Dify gives them,
        `url` (to be shown) and `download_url` (to be saved). One call; two where :meth:`locate`, whose errors
        are raised here too, finds the address alone.
        """
        found = self.locate(dataset_id, document_id)
        if "download_url" in found:
            return found
        source = self._knowledge.get_document(dataset_id, document_id).get("data_source_info") or {}
        download_url = found["url"]
        # The signature does not cover the wish for an attachment (documents/preview-url).
        return {
            **source.get("upload_file", {}),
            "url": download_url.replace(_AS_ATTACHMENT, ""),
            "download_url": download_url,
        }

    def open_file(self, found: Json) -> RemoteFile:
        """Start to download the file that :meth:`locate` or :meth:`describe` found. The caller must close it.

        :raises DifyNotFound: the address has expired.
        :raises DifyFailed: the address is on a host that is not Dify's.
        """
        url = self._absolute(found.get("download_url") or found["url"])
        return RemoteFile(expect_success(self._transport.send("GET", url)))

    def _absolute(self, url: str) -> str:
        """The whole of an address, which is relative unless Dify's FILES_URL is set (contract README, 19).

        :raises DifyFailed: it leads to another host. We would fetch whatever is there for our caller.
        """
        if url.startswith("/") and not url.startswith("//"):
            return self._transport.base_url + url
        if _origin(url) in self._origins:
            return url
        raise DifyFailed(
            "Dify's address of this file is on another host than DIFY_BASE_URL. If that is right, the"
            " operator should set DIFY_FILES_URL to Dify's own FILES_URL."
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
