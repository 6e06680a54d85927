"""PDF files, made with reportlab."""

import io
from collections.abc import Callable

from PIL import Image
from reportlab.lib.pagesizes import A4, landscape
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

from .sample import Sample

_CHINESE = (
    "话说葫芦庙旁住着一家乡宦，姓甄名费，字士隐，嫡妻封氏，性情贤淑，深明礼义，家中虽不甚富贵，然本地也推他为望族。"
    "因这甄士隐禀性恬淡，不以功名为念，每日只以观花种竹、酌酒吟诗为乐，倒是神仙一流人物。"
)
_ENGLISH = (
    "The temple stands in a narrow lane behind the western gate"
    " of the town, and nobody who lives there remembers who built"
    " it or when the bell was hung. A retired official keeps a small garden beside it and spends his evenings there."
)
_NAMES = (
    "The commission that met in the old town hall was led by the"
    " mayor of the city and by Professor Li, who had studied in"
    " London. Its report named the engineers Wang and Zhao, and it asked the Ministry of Water for money and for time."
)


def _pdf(draw: Callable[[Canvas], None], size: tuple[float, float] = A4) -> bytes:
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=size)
    canvas.setFont("STSong-Light", 12)
    draw(canvas)
    canvas.save()
    return target.getvalue()


def _lines(*lines: str, x: float = 72, y: float = 760, step: float = 20) -> Callable[[Canvas], None]:
    def draw(canvas: Canvas) -> None:
        for number, line in enumerate(lines):
            canvas.drawString(x, y - step * number, line)

    return draw


def _cut(text: str, length: int) -> list[str]:
    """Cut a text into lines at the margin: at any character in Chinese, between words in English."""
    if not text.isascii():
        return [text[start : start + length] for start in range(0, len(text), length)]
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > length:
            lines.append("")
        lines[-1] += word + " "
    return [line.strip() for line in lines]


def _grid(canvas: Canvas) -> None:
    for row, texts in enumerate((("Model", "Price", "Stock"), ("A1", "20", "30"), ("B2", "5", "600"))):
        for column, text in enumerate(texts):
            canvas.drawString(60 + 140 * column, 700 - 20 * row, text)


def _columns(canvas: Canvas) -> None:
    _lines(*_cut(_ENGLISH, 38), x=60, step=14)(canvas)
    _lines(*_cut("Second column: " + _ENGLISH.replace("temple", "bridge"), 38), x=320, step=14)(canvas)


def _turned(canvas: Canvas) -> None:
    """A portrait page whose text runs upwards, as a wide table is printed."""
    canvas.rotate(90)
    _lines("一号泵 压力 0.6", "二号泵 压力 0.4", x=100, y=-100)(canvas)


def _rotated(canvas: Canvas) -> None:
    canvas.setPageRotation(90)
    _turned(canvas)


def _upside_down(canvas: Canvas) -> None:
    canvas.translate(A4[0], A4[1])
    canvas.rotate(180)
    _lines("一号泵 压力 0.6", "二号泵 压力 0.4")(canvas)


def _scan(canvas: Canvas) -> None:
    canvas.drawInlineImage(Image.new("L", (60, 60), 128), 50, 200, 500, 500)


def _mixed(canvas: Canvas) -> None:
    _lines("第一章 总则", *_cut(_CHINESE, 36), "联系人：张三", "电话：110", "部门：财务部")(canvas)


PDF = (
    Sample(
        "a list of short lines",
        "pdf",
        _pdf(_lines("张三　财务部", "李四　人事部", "王五　采购部", "赵六　仓储部", step=24)),
        lines=("张三", "李四", "王五", "赵六"),
    ),
    Sample(
        "numbered steps of nearly the same length",
        "pdf",
        _pdf(
            _lines(
                "1. Turn off the main power switch",
                "2. Open the upper inspection hatch",
                "3. Remove the filter from its frame",
                step=30,
            )
        ),
        lines=("1. Turn", "2. Open", "3. Remove"),
    ),
    Sample(
        "numbered steps that stand close",
        "pdf",
        _pdf(
            _lines(
                "1. Turn off the main power switch",
                "2. Open the upper inspection hatch",
                "3. Remove the filter from its frame",
                step=14,
            )
        ),
        lines=("1. Turn", "2. Open", "3. Remove"),
    ),
    Sample(
        "lines of names and numbers",
        "pdf",
        _pdf(_lines("张三 财务部 8001", "李四 人事部 8002", "王五 采购部 8003", step=14)),
        lines=("张三", "李四", "王五"),
    ),
    Sample(
        "a table",
        "pdf",
        _pdf(_grid),
        shown=("Model", "Price", "Stock", "A1", "20", "30", "B2"),
        lines=("Model", "A1", "B2"),
        apart=(("A1", "20"), ("20", "30")),
    ),
    Sample("running Chinese text", "pdf", _pdf(_lines(*_cut(_CHINESE, 36))), shown=(_CHINESE,)),
    Sample(
        "running Chinese text with an indented first line",
        "pdf",
        _pdf(_lines("　　" + _CHINESE[:34], *_cut(_CHINESE[34:], 36))),
        shown=(_CHINESE,),
    ),
    Sample("running English text", "pdf", _pdf(_lines(*_cut(_ENGLISH, 80), step=14)), shown=(_ENGLISH,)),
    Sample(
        "a word that is broken with a hyphen",
        "pdf",
        _pdf(
            _lines(
                "The retired official of the town keeps a small and very beau-",
                "tiful garden beside the temple.",
                step=14,
            )
        ),
        shown=("beautiful garden",),
    ),
    Sample(
        "a heading, a paragraph, short lines",
        "pdf",
        _pdf(_mixed),
        shown=("第一章 总则", _CHINESE, "联系人：张三", "电话：110"),
        lines=("第一章", "话说", "联系人", "电话", "部门"),
    ),
    Sample(
        "rows as long as running text",
        "pdf",
        _pdf(
            _lines(
                "Zhang San, Finance Department, extension 8001, Shanghai office",
                "Li Si, Human Resources Department, extension 8002, Beijing one",
                "Wang Wu, Purchasing Department, extension 8003, Guangzhou city",
                step=14,
            )
        ),
        lines=("Zhang San", "Li Si", "Wang Wu"),
    ),
    Sample(
        "Chinese titles as long as running text",
        "pdf",
        _pdf(
            _lines(
                "关于印发苏州市城市供水管理办法实施细则的通知",
                "关于调整二〇二六年居民生活用水价格方案的批复",
                "关于成立三号泵房设备改造工程领导小组的决定",
            )
        ),
        lines=("供水管理", "调整", "成立"),
    ),
    Sample(
        "a table of contents",
        "pdf",
        _pdf(
            _lines(
                "Safety of the pump ........................................ 3",
                "Maintenance of the pump ................................... 7",
                step=14,
            )
        ),
        lines=("Safety", "Maintenance"),
    ),
    Sample(
        "running English text with names at the beginning of lines",
        "pdf",
        _pdf(_lines(*_cut(_NAMES, 60), step=14)),
        shown=(_NAMES,),
    ),
    Sample("text that stands on its head", "pdf", _pdf(_upside_down), lines=("一号泵 压力 0.6", "二号泵 压力 0.4")),
    Sample(
        "two columns",
        "pdf",
        _pdf(_columns),
        shown=("who built it or when the bell", "Second column:", "narrow lane behind"),
    ),
    Sample(
        "a landscape page",
        "pdf",
        _pdf(_lines("一号泵 压力 0.6", "二号泵 压力 0.4", y=500), landscape(A4)),
        lines=("一号泵 压力 0.6", "二号泵 压力 0.4"),
    ),
    Sample("a page with turned text", "pdf", _pdf(_turned), lines=("一号泵 压力 0.6", "二号泵 压力 0.4")),
    Sample("a rotated page", "pdf", _pdf(_rotated), lines=("一号泵 压力 0.6", "二号泵 压力 0.4")),
)
PDF_WITHOUT_TEXT = (Sample("a scanned page", "pdf", _pdf(_scan)),)
