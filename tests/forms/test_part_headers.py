"""The headers of a part of a form, as browsers and programs write them."""

import time

import pytest

from route_api.errors import ValidationFailed
from route_api.forms.part_headers import read_part_headers
from route_api.monitoring import tracing

NAME = "水厂巡检记录.txt"


def filename_in(parameters: bytes) -> str | None:
    return read_part_headers(b'Content-Disposition: form-data; name="file"' + parameters).filename


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ('; filename="水厂巡检记录.txt"', NAME),  # browsers, curl, OkHttp, Python's requests
        (";filename=水厂巡检记录.txt", NAME),
        ("; filename=report of May.pdf", "report of May.pdf"),
        ("; FileName = a.txt ; size=3", "a.txt"),
        ("; filename*=UTF-8''%E6%B0%B4%E5%8E%82%E5%B7%A1%E6%A3%80%E8%AE%B0%E5%BD%95.txt", NAME),  # urllib3 1
        ("; filename*=utf-8'zh-CN'%E6%B0%B4.txt; filename=x.txt", "水.txt"),
        ("; filename=x.txt; filename*=gbk''%CB%AE.txt", "水.txt"),
        ("; filename*=\"UTF-8''%E6%B0%B4.txt\"", "水.txt"),  # Apache HttpClient 5
        ("; filename*=klingon''%E6%B0%B4.txt; filename=x.txt", "x.txt"),
        ("; filename*=klingon''%E6%B0%B4.txt", "水.txt"),
        ("; filename*0*=UTF-8''%E6%B0; filename*1*=%B4%20; filename*2=a.txt", "水 a.txt"),  # JavaMail, RFC 2231
        ('; filename="=?UTF-8?B?5rC05Y6C5beh5qOA6K6w5b2VLnR4dA==?="', NAME),  # Spring's RestTemplate
        ('; filename="=?utf-8?Q?=E6=B0=B4_1.txt?="', "水 1.txt"),
        ('; filename="=?UTF-8?B?5rC0?= =?UTF-8?B?5Y6C?=\r\n =?UTF-8?Q?.txt?="', "水厂.txt"),
        ('; filename="=?UTF-8?B?5rA=?= =?UTF-8?B?tC50eHQ=?="', "水.txt"),  # a character that is cut in two
        ('; filename="=?gb2312?B?y64udHh0?="', "水.txt"),
        ('; filename="a =?UTF-8?Q?=E6=B0=B4?=.txt"', "a 水.txt"),
        ('; filename="=?UTF-8?B?!!!?="', "=?UTF-8?B?!!!?="),
        ('; filename="=?UTF-8?B?!!!?=.txt"', "=?UTF-8?B?!!!?=.txt"),
        ('; filename="=?klingon?B?5rC0?="', "=?klingon?B?5rC0?="),
        # .NET's HttpClient sends both:
        ("; filename=\"=?utf-8?B?eC50eHQ=?=\"; filename*=utf-8''%E6%B0%B4.txt", "水.txt"),
        ('; filename="a%22b%0D%0Ac.txt"', 'a"b\r\nc.txt'),  # Chrome, Firefox
        (r'; filename="a\"b.txt"', 'a"b.txt'),  # curl
        ('; filename="a"b"c.txt"; size=1', 'a"b"c.txt'),
        ('; filename="a;b=c.txt"', "a;b=c.txt"),
        (r'; filename="C:\new\水.txt"', r"C:\new\水.txt"),
        (r'; filename="\\\\server\\share\\a.txt"', r"\\server\share\a.txt"),
        ('; filename="%E6%B0%B4%E5%8E%82%20%22a%22%2025%25%20(1).txt"', '水厂 "a" 25% (1).txt'),  # aiohttp
        ('; filename="%e6%b0%b4%2522.txt"', "水%22.txt"),  # decoded once
        ('; filename="%B0%AE.txt"', "%B0%AE.txt"),
        ('; filename="a%20b%2525.txt"', "a%20b%2525.txt"),
        ('; filename="100%25 %E6%B0%B4.txt"', "100%25 %E6%B0%B4.txt"),
        ('; filename="&#27700;&#x1F600;&#38;.txt"', "水&#x1F600;&#38;.txt"),  # a page in Latin-1
        ('; filename="e\u0301te\u0301.txt"', "\u00e9t\u00e9.txt"),  # macOS
        ("; filename*=UTF-8''e%CC%81.txt", "\u00e9.txt"),
        ('; filename=""', ""),
        ("; filename=", ""),
        ("; filename", None),
        ("", None),
        (";", None),
    ],
)
def test_a_file_name_is_read_in_each_form_in_which_clients_send_it(parameters: str, expected: str | None) -> None:
    if parameters == "; filename":
        with pytest.raises(ValidationFailed, match="cannot be read"):
            filename_in(parameters.encode())
    else:
        assert filename_in(parameters.encode()) == expected


@pytest.mark.parametrize(
    ("name", "encoding", "read_as"),
    [
        (NAME, "gbk", "GBK"),
        ("朱镕基.txt", "gbk", "GBK"),
        ("堃.txt", "gbk", "GBK"),
        ("㐀水.txt", "gb18030", "GBK"),
        ("Müller résumé.txt", "latin-1", "Latin-1"),
        ("Größe – 5 €.txt", "cp1252", "Latin-1"),
        ("café.txt", "latin-1", "Latin-1"),
    ],
)
def test_a_name_of_an_old_page_is_read_and_the_caller_is_told(name: str, encoding: str, read_as: str) -> None:
    trace = tracing.begin("")
    assert filename_in(f'; filename="{name}"'.encode(encoding)) == name
    (warning,) = trace.warnings
    assert f"it was read as {read_as}" in warning and name in warning
    tracing.end()


def test_utf_8_has_no_warning() -> None:
    trace = tracing.begin("")
    filename_in(f'; filename="{NAME}"'.encode())
    assert trace.warnings == []
    tracing.end()


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"])
def test_lines_may_be_folded_and_in_any_order_and_case(line_end: bytes) -> None:
    lines = [
        b"content-type: text/plain;",
        b"\tcharset=utf-8",
        b"CONTENT-DISPOSITION : form-data;",
        b'  name="file";',
        b'  filename="a.txt"',
        b"Content-Transfer-Encoding: BASE64",
        b"Content-Length: 3",
    ]
    headers = read_part_headers(line_end.join(lines))
    assert (headers.name, headers.filename, headers.transfer_encoding) == ("file", "a.txt", "base64")
    assert headers.content_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Content-Type: text/plain", "no header Content-Disposition"),
        (b"", "no header Content-Disposition"),
        (b"Content-Disposition: form-data", "must name the field"),
        (b'Content-Disposition: form-data; name=""; filename="a"', "must name the field"),
        (b'Content-Disposition: form-data; name="file"; filename="a.txt', "cannot be read"),
        (b'Content-Disposition: form-data; name="file"; filename="a.txt" b', "cannot be read"),
        (b"this is no header", "no header: this is no header"),
    ],
)
def test_headers_that_cannot_be_read_are_told_as_such(data: bytes, words: str) -> None:
    with pytest.raises(ValidationFailed, match=words):
        read_part_headers(data)


@pytest.mark.parametrize("piece", [b"=", b'"', b" ", b";", b"; a=", b'\\"', b"=?", b"=?a?q?", b"&#1"])
def test_no_header_takes_long_to_read(piece: bytes) -> None:
    begun = time.monotonic()
    for data in (b'; filename="' + piece * (16_000 // len(piece)), b"; filename=a" + piece * (16_000 // len(piece))):
        try:
            filename_in(data)
        except ValidationFailed as error:
            assert len(error.message) < 300
    assert time.monotonic() - begun < 20  # Only against a search that never ends.
