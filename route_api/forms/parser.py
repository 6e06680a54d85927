"""Reads the forms of all requests: multipart forms with `multipart.py`, urlencoded ones with werkzeug."""

from contextlib import suppress
from typing import IO, Any

from flask import Request
from werkzeug.datastructures import FileStorage, Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from ..errors import ValidationFailed
from ..languages import Sentence, shown
from .charsets import WESTERN, charset_named
from .multipart import Content, Part, read_parts
from .part_headers import SHOWN


class FormParser(FormDataParser):
    """werkzeug's parser of forms, with our reader for multipart forms.

    :ivar content_type: the header of the request
    """

    content_type = ""

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> Any:
        """
        :returns: the stream, the fields and the files
        :raises ValidationFailed: a multipart form cannot be read, or is not complete
        :raises RequestEntityTooLarge: the form exceeds a limit
        """
        if mimetype != "multipart/form-data":
            return super().parse(stream, mimetype, content_length, options)
        reading = FormReading(self, content_length, (options or {}).get("charset"))
        events = read_parts(
            stream,
            self.content_type,
            content_length=content_length,
            max_length=self.max_content_length,
            max_parts=self.max_form_parts,
        )
        for event in events:
            if isinstance(event, Part):
                reading.begin(event)
            else:
                reading.add(event)
        return stream, self.cls(reading.fields), self.cls(reading.files)


class FormReading:
    """Collects the fields and files of one form.

    :ivar fields: the names and values, in the order of the form
    :ivar files: the names and files, in the order of the form
    """

    def __init__(self, parser: FormParser, total_length: int | None, charset: str | None) -> None:
        """
        :param charset: what the Content-Type of the request names; None if it names none
        """
        self._parser = parser
        self._charset = charset
        self._total_length = total_length
        self.fields: list[tuple[str, str]] = []
        self.files: list[tuple[str, FileStorage]] = []

    def begin(self, part: Part) -> None:
        """Begin a field or a file."""
        self._headers = part.headers
        self._pieces: list[bytes] = []
        self._size = 0
        self._file = None
        if part.headers.filename is not None:
            self._file = self._parser.stream_factory(
                total_content_length=self._total_length,
                filename=part.headers.filename,
                content_type=part.headers.content_type,
                content_length=0,
            )

    def add(self, content: Content) -> None:
        """Add to the field or file that was begun.

        :raises RequestEntityTooLarge: the value of a field is too large
        """
        self._size += len(content.data)
        if self._file is not None:
            self._file.write(content.data)
        else:
            limit = self._parser.max_form_memory_size
            if limit is not None and self._size > limit:
                raise RequestEntityTooLarge(
                    Sentence(
                        "The field {name} has more than {limit:,} bytes. If it is a file, its part needs a file"
                        ' name, such as filename="report.pdf".',
                        name=self._headers.name,
                        limit=limit,
                    )
                )
            self._pieces.append(content.data)
        if content.is_last:
            self._end()

    def _end(self) -> None:
        headers = self._headers
        sent_type = [("Content-Type", headers.content_type)] if headers.content_type else []
        if self._file is None:
            self.fields.append((headers.name, self._text(b"".join(self._pieces))))
        elif self._size or headers.filename:  # A browser sends a file input without a file as an empty, nameless file.
            self._file.seek(0)
            self.files.append(
                (headers.name, FileStorage(self._file, headers.filename, headers.name, headers=Headers(sent_type)))
            )

    def _text(self, value: bytes) -> str:
        """The text of a field. A field that names no charset is UTF-8 or, if it is not, what the Content-Type of the
        request names: Spring names there the charset of the files' names alone.

        :raises ValidationFailed: it is not in its charset
        """
        named = parse_options_header(self._headers.content_type)[1].get("charset")
        if named is None or charset_named(named) in WESTERN:
            with suppress(UnicodeDecodeError):
                return value.decode()
        charset = charset_named(named or self._charset)
        try:
            return value.decode(charset)
        except UnicodeDecodeError:
            raise ValidationFailed(
                Sentence(
                    "{name} in the form is not {charset}. Send it in UTF-8, or name its charset in the Content-Type"
                    " of its part, such as text/plain;charset=GBK.",
                    name=shown(self._headers.name, SHOWN),
                    charset=charset,
                )
            ) from None


class FormRequest(Request):
    """Flask's request, with :class:`FormParser`."""

    form_data_parser_class = FormParser

    def make_form_data_parser(self) -> FormDataParser:
        """The parser of this request's form."""
        parser = super().make_form_data_parser()
        if isinstance(parser, FormParser):
            parser.content_type = self.headers.get("Content-Type", "")
        return parser
