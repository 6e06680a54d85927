"""Text out of real files."""

from pathlib import Path

import pytest
from docx import Document
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

from route_api.sandbox.text.extraction import EXTENSIONS, ExtractionError, extract_text, join_broken_lines

CHINESE = "葫芦庙在姑苏城阊门外十里街的仁清巷内，因地方窄狭，人皆呼作葫芦庙。\n庙旁住着一家乡宦，姓甄，名费，字士隐。"


def write_pdf(path: Path, *pages: list[str]) -> Path:
    """A PDF with one Chinese line of text for each string."""
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    canvas = Canvas(str(path), pagesize=A4)
    for lines in pages:
        canvas.setFont("STSong-Light", 12)
        for number, line in enumerate(lines):
            canvas.drawString(72, 760 - 20 * number, line)
        canvas.showPage()
    canvas.save()
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
def test_a_chinese_text_is_read_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a"
    path.write_bytes((CHINESE * 3).encode(encoding))
    assert extract_text(path, "txt") == CHINESE * 3


@pytest.mark.parametrize("text", ["葫芦庙在哪里", "第一章 总则", "中华人民共和国，2026年。", "甄士隐\r\n贾雨村"])
def test_a_short_gbk_text_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(text.encode("gbk"))
    assert extract_text(path, "txt") == text.replace("\r\n", "\n")


def test_traditional_chinese_in_big5_is_not_taken_for_gbk(tmp_path: Path) -> None:
    text = "紅樓夢是中國古典小說，作者曹雪芹。" * 5
    path = tmp_path / "a"
    path.write_bytes(text.encode("big5"))
    assert extract_text(path, "txt") == text


def test_a_pdf_gives_its_pages_as_paragraphs(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", ["葫芦庙在仁清巷内。"], ["甄士隐住在庙旁。"])
    assert extract_text(path, "pdf") == "葫芦庙在仁清巷内。\n\n甄士隐住在庙旁。"


def test_a_word_that_a_pdf_breaks_at_the_margin_is_whole_again(tmp_path: Path) -> None:
    lines = ["话说葫芦庙旁住着一家乡宦姓甄名费字士隐其女名英", "莲，年方三岁，生得粉妆玉琢。"]
    assert "英莲" in extract_text(write_pdf(tmp_path / "a.pdf", lines), "pdf")


def test_short_lines_and_sentence_ends_stay_line_ends() -> None:
    page = "第一回\n甄士隐梦幻识通灵，贾雨村风尘怀闺秀，此回开\n卷第一回也。\nThe temple stands in the lane and nobody\nknows it."
    assert join_broken_lines(page).splitlines()[0] == "第一回"


def test_a_docx_gives_paragraphs_and_tables_in_their_order(tmp_path: Path) -> None:
    document = Document()
    document.add_paragraph("葫芦庙")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(
        (cell for row in table.rows for cell in row.cells), "姓名 住处 甄士隐 庙旁".split(), strict=True
    ):
        cell.text = text
    document.add_paragraph("完")
    document.save(str(tmp_path / "a.docx"))
    assert extract_text(tmp_path / "a.docx", "docx") == "葫芦庙\n\n| 姓名 | 住处 |\n| 甄士隐 | 庙旁 |\n\n完"


def test_html_gives_its_text_without_scripts_and_inline_tags_break_no_word(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text(
        "<html><head><style>p{}</style></head><body><h1>标题</h1><script>alert(1)</script>"
        "<p>葫<b>芦</b>庙在<br>仁清巷</p></body></html>"
    )
    assert extract_text(path, "html").split() == ["标题", "葫芦庙在", "仁清巷"]


def test_a_csv_gives_a_paragraph_for_each_row(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes('姓名,说明\n甄士隐,"乡宦,住庙旁"\n英莲,其女\n'.encode("gbk"))
    assert extract_text(path, "csv") == "姓名: 甄士隐;说明: 乡宦,住庙旁\n\n姓名: 英莲;说明: 其女"


@pytest.mark.parametrize("extension", ["pdf", "docx"])
@pytest.mark.parametrize("content", [b"", b"no such file", b"%PDF-1.7 broken", b"PK\x03\x04 broken"])
def test_a_broken_file_is_refused_with_a_reason(tmp_path: Path, extension: str, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(ExtractionError, match="cannot be read"):
        extract_text(path, extension)


@pytest.mark.parametrize("extension", ["txt", "md", "html", "csv"])
def test_an_empty_text_file_is_an_empty_text(tmp_path: Path, extension: str) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert extract_text(tmp_path / "a", extension) == ""


def test_only_what_can_be_read_is_offered() -> None:
    assert set(EXTENSIONS) == {"txt", "md", "markdown", "mdx", "html", "htm", "csv", "pdf", "docx"}
