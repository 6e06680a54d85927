"""Tables: csv and Excel."""

import io
from datetime import date, datetime
from typing import Any

from openpyxl import Workbook

from .sample import Sample


def _xlsx(*sheets: list[list[Any]]) -> bytes:
    book, target = Workbook(), io.BytesIO()
    book.remove(book.worksheets[0])
    for number, rows in enumerate(sheets, 1):
        sheet = book.create_sheet(f"表{number}")
        for row in rows:
            sheet.append(row)
    book.save(target)
    return target.getvalue()


def _csv(name: str, text: str, *cells: tuple[str, str], encoding: str = "utf-8", shown: tuple[str, ...] = ()) -> Sample:
    return Sample(name, "csv", text.encode(encoding), shown=shown, cells=cells)


_PUMP = (("名称", "水泵"), ("单价", "20"), ("库存", "30"), ("名称", "阀门"), ("单价", "5"), ("库存", "600"))
_GERMAN = (("Artikel", "Schraube"), ("Preis", "1,50"), ("Bestand", "300"), ("Preis", "0,80"), ("Bestand", "50"))

SHEETS = (
    _csv("commas", "名称,单价,库存\n水泵,20,30\n阀门,5,600\n", *_PUMP),
    _csv("semicolons and decimal commas", "\ufeffArtikel;Preis;Bestand\nSchraube;1,50;300\nMutter;0,80;50\n", *_GERMAN),
    _csv("tabs and decimal commas", "Artikel\tPreis\tBestand\nSchraube\t1,50\t300\nMutter\t0,80\t50\n", *_GERMAN),
    _csv("bars", "名称|单价|库存\n水泵|20|30\n阀门|5|600\n", *_PUMP),
    _csv(
        "Excel's line that names the separator",
        "sep=;\nArtikel;Preis;Bestand\nSchraube;1,50;300\nMutter;0,80;50\n",
        *_GERMAN,
    ),
    _csv(
        "a title above the header",
        "2026年价目表\n名称,单价,库存\n水泵,20,30\n阀门,5,600\n",
        *_PUMP,
        shown=("2026年价目表",),
    ),
    _csv(
        "a title with empty cells, a date, a blank line",
        "2026年价目表,,\n编制：张三,,\n\n名称,单价,库存\n\n水泵,20,30\n,,\n阀门,5,600\n",
        *_PUMP,
        shown=("2026年价目表", "编制：张三"),
    ),
    _csv(
        "a title with a semicolon file",
        "Preisliste 2026\n\nArtikel;Preis;Bestand\nSchraube;1,50;300\nMutter;0,80;50\n",
        *_GERMAN,
        shown=("Preisliste 2026",),
    ),
    _csv("GBK", "名称,单价,库存\r\n水泵,20,30\r\n阀门,5,600\r\n", *_PUMP, encoding="gbk"),
    _csv(
        "UTF-16 with tabs, as Excel saves it",
        "名称\t单价\t库存\r\n水泵\t20\t30\r\n阀门\t5\t600\r\n",
        *_PUMP,
        encoding="utf-16",
    ),
    _csv(
        "quotes, line breaks and separators in cells",
        '名称,说明\n水泵,"大号,\n""立式"""\n阀门,铜\n',
        ("名称", "水泵"),
        ("名称", "阀门"),
        ("说明", "铜"),
        shown=("大号,", '"立式"'),
    ),
    _csv(
        "more cells than headers",
        "名称,单价\n水泵,20,备用\n阀门,5\n",
        ("名称", "水泵"),
        ("单价", "20"),
        ("单价", "5"),
        shown=("备用",),
    ),
    _csv(
        "more cells than headers in each row",
        "名称,单价\n水泵,20,备用\n阀门,5,停产\n",
        ("名称", "水泵"),
        ("单价", "20"),
        ("名称", "阀门"),
        shown=("备用", "停产"),
    ),
    _csv(
        "a title with a comma",
        "Price list, 2026\nValid from 1 May, all prices in euro\nArticle,Price,Stock\nPump,20,30\nValve,5,600\n",
        ("Article", "Pump"),
        ("Price", "20"),
        ("Stock", "30"),
        ("Article", "Valve"),
        shown=("Price list 2026", "Valid from 1 May"),
    ),
    _csv(
        "an empty header above words",
        "名称,,备注\n水泵,大号,好\n阀门,小号,坏\n",
        ("名称", "水泵"),
        ("备注", "好"),
        ("备注", "坏"),
    ),
    _csv(
        "decimal commas in quotes",
        '名称,单价,库存\n水泵,"1,50",300\n阀门,"0,80",50\n',
        ("单价", "1,50"),
        ("库存", "300"),
        ("单价", "0,80"),
    ),
    _csv(
        "an empty last column in most rows",
        "名称,单价,备注\n水泵,20,\n阀门,5,\n管道,7,停产\n",
        ("名称", "水泵"),
        ("单价", "5"),
        ("备注", "停产"),
    ),
    _csv("an empty header", "名称,,库存\n水泵,大号,30\n", ("名称", "水泵"), ("库存", "30"), shown=("大号",)),
    _csv("one column", "名称\n水泵\n阀门\n", ("名称", "水泵"), ("名称", "阀门")),
    _csv(
        "one column of sentences with commas",
        "问题\n水泵，阀门，管道在哪里？\n谁负责，怎么联系？\n",
        ("问题", "水泵，阀门，管道在哪里？"),
    ),
    _csv(
        "a line at the end that is no row",
        "名称,单价,库存\n水泵,20,30\n阀门,5,600\n注：含税\n",
        *_PUMP,
        shown=("注：含税",),
    ),
    _csv(
        "texts with many commas between semicolons",
        "id;text;note\n1;one, two, three;a, b\n2;four, five, six;c, d\n",
        ("id", "1"),
        ("text", "one, two, three"),
        ("note", "c, d"),
    ),
    Sample(
        "several sheets, numbers and dates as they are shown",
        "xlsx",
        _xlsx(
            [
                ["名称", "单价", "日期", "有效"],
                ["水泵", 20, date(2026, 5, 1), True],
                ["阀门", 2.5, datetime(2026, 5, 2, 8, 30), False],
            ],
            [["城市", "人口"], ["苏州", 1295000]],
        ),
        shown=("表1", "水泵", "2026-05-01", "阀门", "2026-05-02 08:30", "表2", "苏州", "1295000"),
        hidden=("20.0", "1295000.0"),
        cells=(("名称", "水泵"), ("单价", "20"), ("单价", "2.5"), ("城市", "苏州"), ("人口", "1295000")),
    ),
    Sample(
        "more than 10,000 rows",
        "xlsx",
        _xlsx([["名称", "单价"], *(["水泵", number] for number in range(10_100))]),
        cells=(("单价", "9999"), ("单价", "10099")),
    ),
    Sample(
        "signs of Markdown in cells, a line break, an empty row and column",
        "xlsx",
        _xlsx([["名称", None, "说|明"], ["a*b_c", None, "第一行\n第二行"], [], ["[x](y) <br> \\|", None, "#1"]]),
        shown=("名称: a*b_c", "说|明: 第一行 第二行", "[x](y)", "\\|", "说|明: #1"),
    ),
    Sample("a note in one cell", "xlsx", _xlsx([["本表作废"]], [["名称"], ["水泵"]]), shown=("本表作废", "名称: 水泵")),
    Sample(
        "a title above the header",
        "xlsx",
        _xlsx([["2026年价目表"], [], ["名称", "单价", "库存"], ["水泵", 20, 30], ["阀门", 5, 600]]),
        shown=("2026年价目表", "水泵", "阀门"),
        cells=_PUMP,
    ),
)
SHEETS_WITHOUT_TEXT = (
    Sample("a header alone", "xlsx", _xlsx([["名称", "单价"]])),
    Sample("a header alone", "csv", "名称,单价\n".encode()),
)
