"""Text out of real files."""

import io
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pytest

from route_api.sandbox.text.extraction import EXTENSIONS, ExtractionError, extract_text

from ...support.recordings import load
from ...support.running_gateway import PROJECT_DIR
from ...support.samples import SAMPLES, Sample, complaints, sample

CHINESE = "葫芦庙在姑苏城阊门外十里街的仁清巷内，因地方窄狭，人皆呼作葫芦庙。\n庙旁住着一家乡宦，姓甄，名费，字士隐。"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a"


def extracted(path: Path, content: bytes | str, extension: str) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return extract_text(path, extension)


def saved(document: Any) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def word_table(rows: Sequence[Sequence[str]]) -> bytes:
    document = docx.Document()
    table = document.add_table(len(rows), len(rows[0]))
    for row, texts in zip(table.rows, rows, strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    return saved(document)


def web_table(rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in row)}</tr>" for row in rows)
    return f"<table>{cells}</table>"


TABLE = {"docx": word_table, "html": web_table}


@pytest.mark.parametrize("case", SAMPLES, ids=str)
def test_a_file_gives_the_text_that_its_reader_sees(path: Path, case: Sample) -> None:
    text = extracted(path, case.content, case.extension)
    assert complaints(case, text) == [], text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
def test_a_chinese_text_is_read_in_every_encoding(path: Path, encoding: str) -> None:
    assert extracted(path, (CHINESE * 3).encode(encoding), "txt") == CHINESE * 3


@pytest.mark.parametrize("text", ["葫芦庙在哪里", "第一章 总则", "中华人民共和国，2026年。", "甄士隐\r\n贾雨村"])
def test_a_short_gbk_text_is_read(path: Path, text: str) -> None:
    assert extracted(path, text.encode("gbk"), "txt") == text.replace("\r\n", "\n")


@pytest.mark.parametrize("extension", ["pdf", "docx", "xlsx", "pptx", "epub"])
@pytest.mark.parametrize("content", [b"", b"no such file", b"%PDF-1.7 broken", b"PK\x03\x04 broken"])
def test_a_broken_file_is_refused_with_a_reason(path: Path, extension: str, content: bytes) -> None:
    with pytest.raises(ExtractionError, match=f"The {extension.upper()} file cannot be read: .* "):
        extracted(path, content, extension)


@pytest.mark.parametrize(
    "content", [word_table([["水泵"]]), random.Random(1).randbytes(20_000)], ids=["docx", "random"]
)
def test_a_text_that_is_none_is_refused(path: Path, content: bytes) -> None:
    """Else hundreds of chunks of garbage are in the search."""
    with pytest.raises(ExtractionError, match="The TXT file cannot be read: it is no text"):
        extracted(path, content, "txt")


@pytest.mark.parametrize("extension", ["doc", "xls", "ppt"])
def test_a_broken_file_of_an_old_office_is_refused_with_a_reason(path: Path, extension: str) -> None:
    with pytest.raises(ExtractionError, match=f"The {extension.upper()} file cannot be read: it is damaged"):
        extracted(path, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", extension)


@pytest.mark.parametrize("extension", ["txt", "md", "html", "csv", "eml"])
def test_an_empty_text_file_is_an_empty_text(path: Path, extension: str) -> None:
    """Dify takes it as done, without a segment (documents/create-by-file-empty)."""
    assert extracted(path, b"", extension) == ""


@pytest.mark.parametrize(
    ("extension", "content", "reason"),
    [
        ("txt", " \n\t\n", "it has only blanks"),
        ("csv", "名称,单价,库存\n", "it is blank, or has no row below its header"),
        ("csv", "名称\n\n", "it is blank, or has no row below its header"),
        ("html", "<html><script>alert('葫芦庙')</script><style>p{}</style></html>", "it has only markup, scripts"),
        ("html", "<nav><a href=/>首页</a></nav>", "it has only markup, scripts or navigation"),
        ("pdf", sample("pdf", "a scanned page").content, "its pages are pictures, as of a scan"),
        ("docx", sample("docx", "a document without text").content, "it is empty, or has only pictures"),
        ("xlsx", sample("xlsx", "a header alone").content, "it is empty, .* or a header without rows"),
    ],
)
def test_a_file_without_text_is_an_error_that_says_so(
    path: Path, extension: str, content: bytes | str, reason: str
) -> None:
    with pytest.raises(ExtractionError, match=f"No text was found in the file: {reason}"):
        extracted(path, content, extension)


def test_what_programs_export_as_xls_is_read_as_what_it_is(path: Path) -> None:
    assert extracted(path, "<table><tr><td>水泵</td><td>20</td></tr></table>", "xls") == "| 水泵 | 20 |"
    assert extracted(path, "名称\t单价\n水泵\t20\n", "xls") == "名称: 水泵;单价: 20"
    assert "单价: 20" in extracted(path, sample("xlsx", "a title above the header").content, "xls")


def test_a_page_that_a_program_exports_as_doc_is_read(path: Path) -> None:
    page = "<html xmlns:w='urn:schemas-microsoft-com:office:word'><body><h1>通知</h1><p>周五停水。</p></body></html>"
    assert extracted(path, page, "doc") == "# 通知\n\n周五停水。"


@pytest.mark.parametrize("extension", ["html", "docx"])
def test_equal_cells_side_by_side_are_both_there(path: Path, extension: str) -> None:
    """Else the columns to the right would stand below the wrong headers."""
    rows = [["名称", "三月", "四月", "五月"], ["水泵", "30", "30", "40"]]
    assert extracted(path, TABLE[extension](rows), extension).endswith("| 水泵 | 30 | 30 | 40 |")


def test_a_merged_cell_of_a_word_table_is_there_once_in_each_of_its_rows(path: Path) -> None:
    document = docx.Document()
    table = document.add_table(3, 3)
    table.cell(0, 0).merge(table.cell(1, 1)).text = "泵房"
    table.cell(2, 0).merge(table.cell(2, 2)).text = "合计"
    table.cell(0, 2).text, table.cell(1, 2).text = "30", "40"
    assert extracted(path, saved(document), "docx") == "| 泵房 | 30 |\n| 泵房 | 40 |\n| 合计 |"


def test_a_row_that_is_no_header_is_read_alone(path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["值班电话", "021-5555 0102"])
    assert extracted(path, saved(book), "xlsx") == "值班电话;021-5555 0102"
    assert extracted(path, "值班电话,021-5555 0102\n", "csv") == "值班电话;021-5555 0102"


@pytest.mark.parametrize("extension", ["doc", "docx", "xls"])
def test_rtf_under_another_name_is_refused_as_such(path: Path, extension: str) -> None:
    with pytest.raises(ExtractionError, match=f"The {extension.upper()} file cannot be read: it is RTF"):
        extracted(path, r"{\rtf1\ansi This is text.\par}", extension)


def merged_sheet() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (
        ["仓库", "区", "货架", "数量"],
        ["上海", "A", 1, 10],
        ["", "", 2, 20],
        ["", "B", 3, 30],
        ["合计", "", "", 60],
    ):
        sheet.append(row)
    for cells in ("A2:A4", "B2:B3", "A5:C5"):
        sheet.merge_cells(cells)
    return saved(book)


def test_a_merged_cell_of_a_sheet_is_in_each_of_its_rows(path: Path) -> None:
    assert extracted(path, merged_sheet(), "xlsx").split("\n\n") == [
        "仓库: 上海;区: A;货架: 1;数量: 10",
        "仓库: 上海;区: A;货架: 2;数量: 20",
        "仓库: 上海;区: B;货架: 3;数量: 30",
        "仓库: 合计;数量: 60",
    ]


@pytest.mark.parametrize("rows", ["3", " 3 ", "0"])
def test_a_merged_cell_of_a_web_page_is_in_each_of_its_rows(path: Path, rows: str) -> None:
    page = (
        f"<table><tbody><tr><td rowspan='{rows}'>上海<td rowspan=2>A<td>1<tr><td>2<tr><td>B<td>3<tbody>"
        "<tr><td colspan=2>合计<td>60<tr><td rowspan=x>北京<td>C<td>4</table>"
    )
    assert extracted(path, page, "html").split("\n") == [
        "| 上海 | A | 1 |",
        "| 上海 | A | 2 |",
        "| 上海 | B | 3 |",
        "| 合计 | 60 |",
        "| 北京 | C | 4 |",
    ]


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        (
            "<tr><td>a<td>b<td rowspan=2>c<tr><td>d<tr><td>e<td>f<td>g",
            ["| a | b | c |", "| d | | c |", "| e | f | g |"],
        ),
        ("<tr><td>a<td rowspan=2>b<tr></tr><tr><td>c<td>d", ["| a | b |", "| c | d |"]),
        ("<tr><td>a<td rowspan=2>b<tr><td colspan=3>c<tr><td>d<td>e", ["| a | b |", "| c |", "| d | e |"]),
    ],
    ids=["a row with a cell less", "an empty row", "a cell across the merged one"],
)
def test_a_merged_cell_of_a_web_page_ends_with_its_last_row(path: Path, rows: str, lines: list[str]) -> None:
    assert extracted(path, f"<table>{rows}</table>", "html").split("\n") == lines


@pytest.mark.parametrize(
    ("xml", "paragraphs"),
    [
        (
            "<items xmlns='urn:x'><item><name>手电钻</name><price>399</price></item>\n<item><name>角磨机</name>"
            "<price>259</price></item></items>",
            ["name: 手电钻;price: 399", "name: 角磨机;price: 259"],
        ),
        ("<order><no>7</no><date>3月1日</date><line><name>泵</name></line></order>", ["no: 7;date: 3月1日", "泵"]),
        ("<text><p>一。</p><p>二<b>重</b>点。</p><p>三。</p></text>", ["一。", "二", "重", "点。", "三。"]),
        ("<text><a>一</a>其间<b>二</b></text>", ["一", "其间", "二"]),
        (f"<s><title>泵</title><para>{'长' * 600}</para></s>", ["泵", "长" * 600]),
        ("<a><b>一</b><c>二", ["b: 一;c: 二"]),
    ],
)
def test_a_record_in_xml_is_one_paragraph(path: Path, xml: str, paragraphs: list[str]) -> None:
    assert extracted(path, xml, "xml").split("\n\n") == paragraphs


def test_rows_without_a_cell_of_their_own_are_left_out(path: Path) -> None:
    assert extracted(path, "<table><tr><td rowspan=3>上海<td rowspan=3>A<tr><tr></table>", "html") == "| 上海 | A |"


def test_the_letterhead_of_the_first_page_is_read(path: Path) -> None:
    document = docx.Document()
    section = document.sections[0]
    section.different_first_page_header_footer = True
    document.settings.odd_and_even_pages_header_footer = True
    for place in ("first_page_header", "header", "even_page_header", "first_page_footer", "footer", "even_page_footer"):
        getattr(section, place).paragraphs[0].text = place
    document.add_paragraph("正文")
    assert extracted(path, saved(document), "docx").split("\n\n") == [
        "first_page_header",
        "header",
        "even_page_header",
        "正文",
        "first_page_footer",
        "footer",
        "even_page_footer",
    ]


def test_rows_that_become_longer_below_the_header_keep_it(path: Path) -> None:
    text = extracted(path, "代码,说明\n0,普通\n1,短信,仅个人\n2,指纹,仅个人\n", "csv")
    assert text.split("\n\n") == ["代码: 0;说明: 普通", "代码: 1;说明: 短信;仅个人", "代码: 2;说明: 指纹;仅个人"]


def test_a_class_that_is_very_long_takes_no_time(path: Path) -> None:
    began = time.process_time()
    assert extracted(path, f"<p class={'cookie' * 20_000}>停水</p>", "html") == "停水"
    assert time.process_time() - began < 2


def test_whatever_dify_takes_is_taken() -> None:
    recorded = load("1.16.1", "documents/console-supported-types")["response"]["body"]["allowed_extensions"]
    assert {extension.lower() for extension in recorded} <= set(EXTENSIONS)
    assert set(EXTENSIONS) - {extension.lower() for extension in recorded} == {
        "pptx",
        "ppt",
        "doc",
        "epub",
        "eml",
        "xml",
    }


def test_the_sandbox_starts_without_the_parsers() -> None:
    """Their import takes longer than the rest of the start, and only the process that prepares a file needs them."""
    parsers = {"pypdfium2", "office_oxide", "lxml"}
    program = f"import sys; import route_api.sandbox.app; print({parsers!r} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT_DIR)
    assert found.stdout.strip() == "set()"
