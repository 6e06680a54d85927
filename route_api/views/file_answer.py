"""The answer with a file of Dify: its name, and the part of it that the header Range asks for (RFC 9110, 14)."""

from typing import Any
from urllib.parse import quote

from flask import Response, request, stream_with_context

from ..dify import RemoteFile
from ..envelope import failure
from ..errors import RangeNotSatisfiable
from ..knowledge.downloads import read_and_close
from ..knowledge.zips import read_zip


def answer_with_file(file: RemoteFile, default_name: str) -> Response:
    """Answer with a file, or with the part that the request asks for. The file is closed after its last byte.

    Dify sends no parts of a file: the recordings of its file route have no Accept-Ranges. So the gateway reads the file
    from its beginning and leaves out what comes before the part. With HEAD it reads nothing.

    :param default_name: the name of the file if Dify told none
    :raises DifyError: Dify broke the connection, or fell silent, before the first bytes of the part
    """
    answer = Response(content_type=file.mime_type)
    answer.headers["Content-Disposition"] = attachment(file.name or default_name)
    begin, end = 0, None
    if file.size is not None:
        etag = f'"{file.version}"'
        answer.content_length = file.size
        answer.headers["Accept-Ranges"], answer.headers["ETag"] = "bytes", etag
        try:
            part = asked_part(file.size, etag)
        except RangeNotSatisfiable as error:
            file.close()
            refusal = failure(error)
            refusal.headers["Content-Range"] = f"bytes */{file.size}"
            return refusal
        if part is not None:
            begin, end = part
            answer.status_code, answer.content_length = 206, end - begin
            answer.headers["Content-Range"] = f"bytes {begin}-{end - 1}/{file.size}"
    if request.method == "HEAD":
        file.close()
    else:
        answer.response = stream_with_context(read_and_close(file, begin, end))
    return answer


def answer_with_zip(kb_id: str, addresses: dict[str, Any]) -> Response:
    """Answer with several files as one zip. It has no parts, because its bytes are not known before they are sent.

    :param addresses: of the files, from :func:`.zips.locate_documents`
    :raises DifyError: the first file cannot be opened
    """
    answer = Response(content_type="application/zip")
    answer.headers["Content-Disposition"] = attachment("documents.zip")
    answer.headers["Accept-Ranges"] = "none"
    pieces = iter(()) if request.method == "HEAD" else read_zip(kb_id, addresses)
    answer.response = stream_with_context(pieces)  # Also for HEAD: a length of 0 would not be that of the zip.
    return answer


def asked_part(size: int, etag: str) -> tuple[int, int] | None:
    """The part of a file that the request asks for: its first byte, and the first byte after it.

    :param size: of the file, in bytes
    :param etag: the header ETag of the file
    :returns: None for the whole file: if the request has no Range that can be read, or several ranges, or an If-Range
        that is not this file's ETag
    :raises RangeNotSatisfiable: the part begins after the end of the file
    """
    asked = request.range
    if request.method != "GET" or asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    if request.headers.get("If-Range", etag) != etag:
        return None
    begin, end = asked.ranges[0]
    if begin < 0:  # The last bytes of the file, such as `bytes=-500`.
        begin = max(0, size + begin)
    if begin >= size:
        raise RangeNotSatisfiable(request.headers["Range"], size)
    return begin, size if end is None else min(end, size)


def attachment(name: str) -> str:
    """The header Content-Disposition of a file that is to be saved.

    It has the name twice (RFC 6266): programs that do not read `filename*` get one in ASCII, with `_` for each other
    character.
    """
    in_ascii = "".join(character if " " <= character <= "~" else "_" for character in name)
    quoted = in_ascii.replace("\\", r"\\").replace('"', r"\"")
    return f"attachment; filename=\"{quoted}\"; filename*=UTF-8''{quote(name, safe='')}"
