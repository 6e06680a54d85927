"""Word documents. Each is written as XML, as Word writes it, because python-docx cannot make most of this."""

import io
import zipfile
from collections.abc import Mapping
from types import MappingProxyType

from .sample import Sample

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_NAMESPACES = (
    f'xmlns:w="{_W}" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    ' xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"'
    ' xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"'
    ' xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:v="urn:schemas-microsoft-com:vml"'
    ' xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    ' xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
)
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006"
_WORD_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml"
_CHANGE = 'w:id="1" w:author="x" w:date="2026-01-01T00:00:00Z"'


def _archive(files: dict[str, str]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def _docx(body: str, others: Mapping[str, tuple[str, str]] = MappingProxyType({}), **parts: str) -> bytes:
    """A Word document with this body. `parts` are further parts by name: header, footer, footnotes, comments,
    numbering, styles. `others` are parts in other languages: for each kind, the name of its file and the content."""
    overrides = f'<Override PartName="/word/document.xml" ContentType="{_WORD_TYPE}.document.main+xml"/>' + "".join(
        f'<Override PartName="/word/{name}.xml" ContentType="{_WORD_TYPE}.{name}+xml"/>' for name in parts
    )
    related = "".join(
        f'<Relationship Id="{name}" Type="{_OFFICE}/relationships/{name}" Target="{name}.xml"/>' for name in parts
    )
    related += "".join(
        f'<Relationship Id="{kind}" Type="{_OFFICE}/relationships/{kind}" Target="{name}"/>'
        for kind, (name, _) in others.items()
    )
    section = "".join(
        f'<w:{name}Reference w:type="default" r:id="{name}"/>' for name in parts if name in ("header", "footer")
    )
    files = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType='
        f'"application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>'
        f'<Default Extension="html" ContentType="text/html"/>{overrides}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
        f'Type="{_OFFICE}/relationships/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">{related}</Relationships>',
        "word/document.xml": (
            f"<w:document {_NAMESPACES}><w:body>{body}" f"<w:sectPr>{section}</w:sectPr></w:body></w:document>"
        ),
    }
    roots = {"header": "hdr", "footer": "ftr"}
    for name, content in parts.items():
        root = roots.get(name, name)
        files[f"word/{name}.xml"] = f"<w:{root} {_NAMESPACES}>{content}</w:{root}>"
    return _archive({**files, **{f"word/{name}": content for name, content in others.values()}})


def _run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def _paragraph(content: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr>{content}</w:p>"


def _text(*texts: str) -> str:
    return "".join(_paragraph(_run(text)) for text in texts)


def _control(content: str) -> str:
    return f"<w:sdt><w:sdtPr/><w:sdtContent>{content}</w:sdtContent></w:sdt>"


def _cell(content: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{content}</w:tc>"


def _row(*texts: str) -> str:
    return f"<w:tr>{''.join(_cell(_text(text)) for text in texts)}</w:tr>"


def _table(*rows: str) -> str:
    return f"<w:tbl><w:tblPr/>{''.join(rows)}</w:tbl>"


def _inserted(content: str) -> str:
    return f"<w:ins {_CHANGE}>{content}</w:ins>"


def _deleted(text: str) -> str:
    return f"<w:del {_CHANGE}><w:r><w:delText>{text}</w:delText></w:r></w:del>"


def _field(instruction: str, result: str) -> str:
    kinds = [f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("begin", "separate", "end")]
    return f"{kinds[0]}<w:r><w:instrText>{instruction}</w:instrText></w:r>{kinds[1]}{_run(result)}{kinds[2]}"


_SHAPE = (
    "<w:r><mc:AlternateContent><mc:Choice Requires='wps'><w:drawing>"
    "<wp:anchor><a:graphic><a:graphicData><wps:wsp><wps:txbx>"
    "<w:txbxContent>{0}</w:txbxContent></wps:txbx></wps:wsp>"
    "</a:graphicData></a:graphic></wp:anchor></w:drawing></mc:Choice>"
    "<mc:Fallback><w:pict><v:shape><v:textbox><w:txbxContent>{0}"
    "</w:txbxContent></v:textbox></v:shape></w:pict></mc:Fallback>"
    "</mc:AlternateContent></w:r>"
)
_OLD_SHAPE = "<w:r><w:pict><v:shape><v:textbox><w:txbxContent>{0}</w:txbxContent></v:textbox></v:shape></w:pict></w:r>"
_DIAGRAM = "http://schemas.openxmlformats.org/drawingml/2006/diagram"
_SMART_ART = (
    f'<w:r><w:drawing><wp:inline><a:graphic><a:graphicData uri="{_DIAGRAM}"><dgm:relIds xmlns:dgm="{_DIAGRAM}"'
    ' r:dm="diagramData"/></a:graphicData></a:graphic></wp:inline></w:drawing></w:r>'
)
_SMART_ART_DATA = (
    f'<dgm:dataModel xmlns:dgm="{_DIAGRAM}" xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><dgm:ptLst>'
    '<dgm:pt modelId="1"><dgm:t><a:p><a:r><a:t>总经理</a:t></a:r></a:p></dgm:t></dgm:pt></dgm:ptLst></dgm:dataModel>'
)
_WIDE, _TALL = "<w:gridSpan w:val='2'/>", "<w:vMerge w:val='restart'/>"
_NUMBERING = (
    "<w:abstractNum w:abstractNumId='0'><w:lvl w:ilvl='0'>"
    "<w:start w:val='1'/><w:numFmt w:val='chineseCountingThousand'/>"
    "<w:lvlText w:val='第%1条'/></w:lvl><w:lvl w:ilvl='1'><w:start w:val='1'/><w:numFmt w:val='decimal'/><w:isLgl/>"
    "<w:lvlText w:val='%1.%2'/></w:lvl></w:abstractNum><w:num w:numId='7'><w:abstractNumId w:val='0'/></w:num>"
)


def _numbered(text: str, level: int = 0) -> str:
    return _paragraph(_run(text), f"<w:numPr><w:ilvl w:val='{level}'/><w:numId w:val='7'/></w:numPr>")


WORD = (
    Sample(
        "tracked changes",
        "docx",
        _docx(
            _paragraph(_run("合同金额为") + _inserted(_run("三百万元")) + _deleted("一百万元") + _run("整。"))
            + _paragraph(_inserted(f"<w:hyperlink w:anchor='a'>{_run('见附件一')}</w:hyperlink>"))
        ),
        shown=("合同金额为三百万元整。", "见附件一"),
        hidden=("一百万元",),
    ),
    Sample(
        "moved text",
        "docx",
        _docx(
            _paragraph(_run("甲") + f"<w:moveFrom {_CHANGE}>{_run('旧处')}</w:moveFrom>")
            + _paragraph(_run("乙") + f"<w:moveTo {_CHANGE}>{_run('新处')}</w:moveTo>")
        ),
        shown=("甲", "乙新处"),
        hidden=("旧处",),
    ),
    Sample(
        "a deleted row",
        "docx",
        _docx(
            _table(
                _row("名称", "单价"),
                f"<w:tr><w:trPr><w:del {_CHANGE}/></w:trPr>{_cell(_paragraph(_deleted('旧泵')))}</w:tr>",
                f"<w:tr><w:trPr><w:ins {_CHANGE}/>"
                f"</w:trPr>{_cell(_paragraph(_inserted(_run('新泵'))))}{_cell(_text('20'))}</w:tr>",
            )
        ),
        shown=("名称", "新泵", "20"),
        hidden=("旧泵",),
    ),
    Sample(
        "content controls",
        "docx",
        _docx(
            _control(_text("甲方为海棠公司。"))
            + _paragraph(_run("负责人：") + _control(_run("李四")))
            + _control(_table(_row("单价", "42元")))
            + _table(
                _control(_row("型号", "A1")),
                f"<w:tr>{_control(_cell(_text('库存')))}{_cell(_control(_text('30')))}</w:tr>",
            )
            + _control(_control(_text("两层控件")))
        ),
        shown=("甲方为海棠公司。", "负责人：李四", "单价", "42元", "型号", "A1", "库存", "30", "两层控件"),
        apart=(("单价", "42元"), ("型号", "A1"), ("库存", "30")),
    ),
    Sample(
        "a text box of today",
        "docx",
        _docx(_text("之前") + _paragraph(_SHAPE.format(_text("请勿靠近。", "高压危险。"))) + _text("之后")),
        shown=("之前", "请勿靠近。", "高压危险。", "之后"),
        once=("请勿靠近。", "高压危险。"),
        lines=("请勿靠近。", "高压危险。"),
    ),
    Sample(
        "a text box of old",
        "docx",
        _docx(_paragraph(_run("看板：") + _OLD_SHAPE.format(_text("请勿靠近。")) + _run("看板之后。"))),
        shown=("请勿靠近。",),
        once=("请勿靠近。",),
        apart=(("看板：", "请勿靠近。"),),
    ),
    Sample(
        "smart tags, custom XML, links, directions",
        "docx",
        _docx(
            _paragraph(f"<w:smartTag w:uri='u' w:element='e'>{_run('北京市')}</w:smartTag>{_run('海淀区')}")
            + f"<w:customXml w:uri='u' w:element='e'>{_text('自定义块')}</w:customXml>"
            + _paragraph(
                f"<w:hyperlink w:anchor='a'>{_run('链接文字')}</w:hyperlink><w:bdo w:val='ltr'>{_run('方向')}</w:bdo>"
            )
        ),
        shown=("北京市海淀区", "自定义块", "链接文字方向"),
    ),
    Sample(
        "fields",
        "docx",
        _docx(
            _paragraph(f"{_run('见')}<w:fldSimple w:instr='REF x'>{_run('第三章')}</w:fldSimple>{_run('。')}")
            + _paragraph(_run("日期：") + _field("DATE @yyyy", "2026年5月1日") + _run("止"))
            + _paragraph(_field(f"IF {_field('PAGE', '3')} = 3", "内外两层"))
        ),
        shown=("见第三章。", "日期：2026年5月1日止", "内外两层"),
        hidden=("REF", "DATE", "yyyy", "PAGE"),
    ),
    Sample(
        "nested tables",
        "docx",
        _docx(
            _table(
                f"<w:tr>{_cell(_text('外表') + _table(_row('内一', '内二'), _row('内三', '内四')) + _text(''))}"
                f"{_cell(_text('右格'))}</w:tr>"
            )
        ),
        shown=("外表", "内一", "内二", "内三", "内四", "右格"),
        apart=(("外表", "内一"), ("内一", "内二"), ("内二", "内三"), ("内四", "右格")),
    ),
    Sample(
        "a table with merged cells",
        "docx",
        _docx(
            _table(
                f"<w:tr>{_cell(_text('片区'))}{_cell(_text('泵房'), _WIDE)}</w:tr>",
                f"<w:tr>{_cell(_text('东区'), _TALL)}{_cell(_text('一号'))}{_cell(_text('运行'))}</w:tr>",
                f"<w:tr>{_cell(_text(''), '<w:vMerge/>')}{_cell(_text('二号'))}{_cell(_text('停机'))}</w:tr>",
            )
        ),
        shown=("片区", "泵房", "东区", "一号", "运行", "二号", "停机"),
        apart=(("一号", "运行"), ("二号", "停机")),
        lines=("一号", "二号"),
    ),
    Sample(
        "tabs, line breaks, hyphens, hidden text, ruby, a formula",
        "docx",
        _docx(
            _paragraph(
                "<w:r><w:t>姓名</w:t><w:tab/><w:t>张三</w:t><w:br/><w:t>部门</w:t>"
                "<w:cr/><w:t>A</w:t><w:noBreakHyphen/><w:t>1</w:t></w:r>"
            )
            + _paragraph(_run("可见") + _run("隐藏", "<w:vanish/>"))
            + _paragraph(f"<w:r><w:ruby><w:rt>{_run('pēi')}</w:rt><w:rubyBase>{_run('坯')}</w:rubyBase></w:ruby></w:r>")
            + _paragraph("<m:oMath><m:r><m:t>E=mc</m:t></m:r></m:oMath>")
        ),
        shown=("姓名", "张三", "部门", "A-1", "可见", "坯", "E=mc"),
        hidden=("隐藏",),
        apart=(("姓名", "张三"), ("张三", "部门"), ("部门", "A-1")),
    ),
    Sample(
        "footnotes, headers, footers; comments are no text of the page",
        "docx",
        _docx(
            _paragraph(
                _run("正文")
                + "<w:r><w:footnoteReference w:id='2'/></w:r>"
                + "<w:r><w:commentReference w:id='0'/></w:r>"
            ),
            header=_text("页眉：内部资料"),
            footer=_text("页脚：海棠公司"),
            footnotes=f"<w:footnote w:id='2'>{_text('脚注：见国标')}</w:footnote>",
            comments=f"<w:comment w:id='0'>{_text('批注：待改')}</w:comment>",
        ),
        shown=("正文",),
        once=("正文", "脚注：见国标", "页眉：内部资料", "页脚：海棠公司"),
    ),
    Sample(
        "a text box with a table, a content control and tracked changes",
        "docx",
        _docx(
            _paragraph(
                _SHAPE.format(
                    _table(_row("框表", "值"))
                    + _control(_text("框内控件"))
                    + _paragraph(_inserted(_run("框内插入")) + _deleted("框内删除"))
                )
            ),
            header=_control(_text("页眉控件")),
        ),
        shown=("页眉控件", "框表", "值", "框内控件", "框内插入"),
        hidden=("框内删除",),
        apart=(("框表", "值"),),
        once=("框内控件", "框内插入"),
    ),
    Sample(
        "a drawing with text, a part in HTML, a box that is ticked",
        "docx",
        _docx(
            _text("之前")
            + _paragraph(_SMART_ART)
            + '<w:altChunk r:id="aFChunk"/>'
            + _paragraph('<w:r><w:sym w:font="Wingdings" w:char="F0FE"/></w:r>' + _run("同意")),
            {
                "diagramData": ("diagrams/data1.xml", _SMART_ART_DATA),
                "aFChunk": ("chunk.html", "<html><body><p>嵌入的网页</p></body></html>"),
            },
        ),
        shown=("之前", "总经理", "嵌入的网页", "☑同意"),
    ),
    Sample(
        "automatic numbers that go on after plain text, and of headings",
        "docx",
        _docx(
            _numbered("总则")
            + _numbered("适用范围", 1)
            + _text("说明。")
            + _numbered("引用标准", 1)
            + _text("说明。")
            + _numbered("付款")
            + _paragraph(_run("附则"), "<w:pStyle w:val='clause'/>")
            + _numbered("期限", 1),
            numbering=_NUMBERING,
            styles="<w:style w:type='paragraph' w:styleId='clause'><w:name w:val='heading 1'/><w:pPr><w:numPr>"
            "<w:numId w:val='7'/></w:numPr><w:outlineLvl w:val='0'/></w:pPr></w:style>",
        ),
        shown=("第一条 总则", "1.1 适用范围", "1.2 引用标准", "第二条 付款", "第三条 附则", "3.1 期限"),
    ),
    Sample(
        "automatic numbers",
        "docx",
        _docx(
            _numbered("总则")
            + _numbered("适用范围", 1)
            + _numbered("引用标准", 1)
            + _numbered("付款")
            + _numbered("期限", 1),
            numbering=_NUMBERING,
        ),
        shown=("第一条", "总则", "1.1", "适用范围", "1.2", "引用标准", "第二条", "付款", "2.1", "期限"),
    ),
)
WORD_WITHOUT_TEXT = (Sample("a document without text", "docx", _docx(_text("", " "))),)
