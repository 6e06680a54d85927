"""Web pages."""

from .sample import Sample


def _page(body: str) -> bytes:
    return (
        f"<!DOCTYPE html><html><head><meta charset=utf-8>" f"<title>水泵手册</title></head><body>{body}</body></html>"
    ).encode()


_ARTICLE = "<h1>水泵的保养</h1>" + "".join(
    f"<p>第{number}步：关闭电源，等待十分钟，检查密封圈是否老化，并把结果写入巡检记录，由班长签字确认。</p>"
    for number in "一二三四"
)

HTML = (
    Sample(
        "cells of a table",
        "html",
        b"\xef\xbb\xbf" + "<table><tr><th>型号</th><th>单价</th></tr><tr><td>A1</td>"
        "<td>20</td></tr><tr><td>B2</td><td>5</td></tr></table>".encode(),
        shown=("型号", "单价", "A1", "20", "B2", "5"),
        apart=(("型号", "单价"), ("A1", "20"), ("B2", "5")),
        lines=("A1", "B2"),
    ),
    Sample(
        "terms, options, captions, titles",
        "html",
        _page(
            "<dl><dt>扬程</dt><dd>水被抬高的高度</dd><dt>流量</dt><dd>单位时间的水量</dd></dl>"
            "<select><option>一号泵</option><option>二号泵</option></select>"
            "<table><caption>价目</caption><tr><td>水泵</td></tr></table>"
            "<figure><figcaption>图一</figcaption></figure><details><summary>展开</summary>细节</details>"
            "<ul><li>甲</li><li>乙<ol><li>丙</li></ol></li></ul><button>确定</button><button>取消</button>"
        ),
        shown=(
            "水泵手册",
            "扬程",
            "水被抬高的高度",
            "流量",
            "单位时间的水量",
            "价目",
            "水泵",
            "图一",
            "展开",
            "细节",
            "甲",
            "乙",
            "丙",
        ),
        apart=(
            ("扬程", "水被抬高的高度"),
            ("高度", "流量"),
            ("一号泵", "二号泵"),
            ("价目", "水泵"),
            ("展开", "细节"),
            ("甲", "乙"),
            ("乙", "丙"),
        ),
    ),
    Sample(
        "a page with navigation and a cookie banner",
        "html",
        _page(
            "<header><a href=/>首页</a></header><nav><ul><li><a href=/a>关于我们"
            "</a></li><li><a href=/b>联系方式</a></li></ul></nav>"
            '<div id="cookie-banner" class="cookie-consent" role="dialog">我们使用 Cookie 改善体验。<button>全部接受</button></div>'
            f"<main>{_ARTICLE}</main>"
            '<aside class="sidebar"><a href=/c>热门文章</a></aside><footer>版权所有</footer><script>alert("脚本")</script>'
        ),
        shown=("水泵的保养", "第一步", "第四步"),
        hidden=("关于我们", "联系方式", "Cookie", "全部接受", "脚本"),
    ),
    Sample(
        "a page without main and with divs alone",
        "html",
        _page(
            '<div class="navbar"><a href=/a>关于我们</a> <a href=/b>联系方式</a></div><div class="content">'
            + _ARTICLE
            + "</div>"
            '<div class="gdpr-cookie-notice">本站使用 Cookie。</div>'
        ),
        shown=("水泵的保养", "第一步", "第四步"),
        hidden=("关于我们", "Cookie"),
    ),
    Sample(
        "what is not shown",
        "html",
        _page(
            "<p>可见</p><p hidden>隐藏一</p><p style='display: none'>隐藏二</p><style>p{}</style><!-- 注释 -->"
            "<template>模板</template><noscript>请打开脚本</noscript><p aria-hidden=true>图标</p><p>葫<b>芦</b>庙</p>"
        ),
        shown=("可见", "葫芦庙"),
        hidden=("隐藏一", "隐藏二", "注释", "模板", "p{}"),
    ),
    Sample(
        "code keeps its lines and its indentation",
        "html",
        _page("<p>示例：</p><pre><code>def f():\n    return 1\n\nprint(f())</code></pre><p>完</p>"),
        shown=("示例：", "def f():\n    return 1\n\nprint(f())", "完"),
    ),
    Sample(
        "entities, line breaks, a nested table",
        "html",
        _page(
            "<p>A &amp; B&nbsp;&lt;5 &#27700;</p><p>一行<br>二行</p><table><tr>"
            "<td>外<table><tr><td>内</td></tr></table></td><td>右</td></tr></table>"
        ),
        shown=("A & B", "<5 水", "一行", "二行", "外", "内", "右"),
        apart=(("一行", "二行"), ("外", "内"), ("内", "右")),
    ),
    Sample(
        "a table without closing tags, a table that lays out the page",
        "html",
        f"<table><tr><td>A1<td>20<tr><td>B2<td>5</table><table><tr><td>{_ARTICLE}<td>{_ARTICLE}</table>".encode(),
        apart=(("A1", "20"), ("20", "B2"), ("B2", "5")),
        lines=("A1", "B2", "第三步"),
    ),
    Sample(
        "banners of consent tools",
        "html",
        _page(
            "<div id=onetrust-consent-sdk><div>We use cookies</div></div>"
            "<section class='CookieConsent--bar'>Cookies 甲</section>"
            "<div role=dialog aria-label='Cookie settings'>乙</div><div class='js-cookie-notice show'>丙</div>"
            "<div class='cc-window cc-banner'>丁</div><p class=cookie-recipe>饼干的做法</p><ul class=breadcrumb><li>戊</ul>"
            "<dialog>己</dialog><div role=navigation>庚</div>"
        ),
        shown=("饼干的做法",),
        hidden=tuple("甲乙丙丁戊己庚") + ("We use",),
    ),
    Sample(
        "a page in GBK that says so",
        "html",
        "<html><head><meta charset=gb2312></head><body><p>葫芦庙在仁清巷内。</p></body></html>".encode("gbk"),
        shown=("葫芦庙在仁清巷内。",),
    ),
    Sample(
        "a page in Shift-JIS that says so",
        "html",
        "<html><head><meta charset=shift_jis></head><body><p>点検記録：ポンプ</p></body></html>".encode("shift_jis"),
        shown=("点検記録：ポンプ",),
    ),
    Sample(
        "a short page with few words",
        "html",
        _page("<p>停机时间：22:00</p>"),
        shown=("停机时间：22:00",),
    ),
)
