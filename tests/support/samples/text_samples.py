"""Plain texts, and files of less usual kinds."""

import io

from pptx import Presentation
from pptx.util import Inches

from .sample import Sample

_SENTENCE = "设备巡检记录：三号泵房的压力表读数为零点六兆帕，阀门开度百分之四十。"
_ENGLISH = "The café’s pump — number three — was checked. "


def _pptx() -> bytes:
    deck, target = Presentation(), io.BytesIO()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "水泵培训"
    slide.placeholders[1].text = "关闭电源\n打开泵盖"
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "价目"
    table = slide.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for place, text in enumerate(("名称", "单价", "阀门", "5元")):
        table.cell(place // 2, place % 2).text = text
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(Inches(1), Inches(4), Inches(2), Inches(1)).text_frame.text = "组内文字"
    slide.notes_slide.notes_text_frame.text = "备注：先讲安全"
    deck.save(target)
    return target.getvalue()


TEXTS = (
    Sample(
        "cut in the middle of a character",
        "txt",
        (_SENTENCE * 30).encode()[:-1],
        shown=(_SENTENCE * 29, _SENTENCE[:-1] + "\ufffd"),
    ),
    Sample(
        "one bad byte",
        "txt",
        _SENTENCE.encode() + b"\xff" + _SENTENCE.encode(),
        shown=(_SENTENCE + "\ufffd" + _SENTENCE,),
    ),
    Sample(
        "English with one byte of Windows-1252",
        "txt",
        (_ENGLISH * 5).encode() + b"caf\xe9 end",
        shown=(_ENGLISH * 5 + "caf", " end"),
    ),
    Sample(
        "GBK with one bad byte",
        "txt",
        (_SENTENCE * 5).encode("gbk") + b"\xff" + (_SENTENCE * 5).encode("gbk"),
        shown=(_SENTENCE * 5 + "\ufffd" + _SENTENCE,),
    ),
    Sample(
        "GBK, cut in the middle of a character",
        "txt",
        (_SENTENCE * 5).encode("gbk")[:-1],
        shown=(_SENTENCE * 4, _SENTENCE[:-1] + "\ufffd"),
    ),
    Sample(
        "UTF-16, cut in the middle of a character",
        "txt",
        (_SENTENCE * 5).encode("utf-16")[:-1],
        shown=(_SENTENCE * 4, _SENTENCE[:-1] + "\ufffd"),
    ),
    Sample("UTF-16 without a mark", "txt", (_ENGLISH * 3).encode("utf-16-le"), shown=(_ENGLISH * 3,)),
    Sample(
        "Windows-1252",
        "txt",
        ("Die Prüfung der Pumpe fällt am größten Tag aus. Über die Kosten entscheidet später Herr Müller. " * 3).encode(
            "cp1252"
        ),
        shown=("Prüfung", "größten", "Müller"),
    ),
    Sample(
        "Big5",
        "txt",
        ("紅樓夢是中國古典小說，作者曹雪芹。" * 5).encode("big5"),
        shown=("紅樓夢是中國古典小說，作者曹雪芹。" * 5,),
    ),
    Sample(
        "slides",
        "pptx",
        _pptx(),
        shown=("水泵培训", "关闭电源", "打开泵盖", "价目", "名称", "阀门", "5元"),
        apart=(("名称", "单价"), ("关闭电源", "打开泵盖")),
        once=("组内文字", "备注：先讲安全"),
    ),
    Sample(
        "an e-mail with two bodies",
        "eml",
        "From: a@example.com\r\nTo: b@example.com\r\nSubject: =?utf-8?b?5YGc5py66YCa55+l?=\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        "三号泵今晚停机。\r\n--x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>三号泵<b>今晚</b>停机。</p>\r\n--x--\r\n".encode(),
        shown=("停机通知", "三号泵今晚停机。"),
        once=("三号泵今晚停机。",),
    ),
    Sample(
        "subtitles",
        "vtt",
        "WEBVTT\n\n1\n00:00:01.000 --> 00:00:04.000\n"
        "<v 张三>关闭电源。\n\n2\n00:00:05.000 --> 00:00:08.000\n<v 李四>打开泵盖。\n".encode(),
        shown=("张三", "关闭电源。", "李四", "打开泵盖。"),
    ),
)
