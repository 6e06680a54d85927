"""A file on its way to Dify, in constant memory."""

from dataclasses import dataclass
from typing import IO, Any

import orjson
from requests_toolbelt import MultipartEncoder


@dataclass(frozen=True)
class RawAnswer:
    """An answer of Dify as it came."""

    status: int
    content_type: str
    body: bytes


class SizedStream:
    """The next `size` bytes of a file, in the form that MultipartEncoder streams: `len` is what is left."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self.len = size

    def read(self, size: int = -1) -> bytes:
        """
        :raises EOFError: the stream has fewer bytes than were announced; MultipartEncoder would ask for ever.
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
    """The form of a create-by-file. The name is written in raw UTF-8, which Dify reads right (FINDINGS i)."""
    return MultipartEncoder(
        fields={
            "data": orjson.dumps(data),
            "file": (filename, SizedStream(stream, size), content_type),
        }
    )
