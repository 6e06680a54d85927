"""The multipart form of a document upload, which is streamed in constant memory."""

from dataclasses import dataclass
from typing import IO, Any

import orjson
from requests_toolbelt import MultipartEncoder


@dataclass(frozen=True)
class RawAnswer:
    """An unchanged answer of Dify."""

    status: int
    content_type: str
    body: bytes


class SizedStream:
    """The next `size` bytes of a file, as MultipartEncoder wants them: `len` is the number of bytes that are left."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self.len = size

    def read(self, size: int = -1) -> bytes:
        """
        :raises EOFError: the stream has fewer bytes than were announced. MultipartEncoder would try to read for ever.
        """
        wanted = self.len if size < 0 else min(size, self.len)
        data = self._stream.read(wanted)
        if wanted and not data:
            raise EOFError(f"the file ended {self.len} bytes before its announced size")
        self.len -= len(data)
        return data


def document_form(
    filename: str, content_type: str, stream: IO[bytes], size: int, data: dict[str, Any]
) -> MultipartEncoder:
    """The form of a create-by-file. Its file name is raw UTF-8, which Dify can read (tests/contract/FINDINGS.md, i)."""
    return MultipartEncoder(
        fields={
            "data": orjson.dumps(data),
            "file": (filename, SizedStream(stream, size), content_type),
        }
    )
