// The frame of the page: navigation, language, login, and the view of the present address.

import {ROOT} from "./api.js";
import {button, el, fill, icon} from "./dom.js";
import {language, setLanguage, t} from "./i18n.js";
import {showLogin} from "./login.js";
import {reload, start, to} from "./router.js";
import {credential, userId} from "./session.js";
import {showChat} from "./view-chat.js";
import {showChunks} from "./view-chunks.js";
import {showKb} from "./view-kb.js";
import {showKbs} from "./view-kbs.js";
import {showSearch} from "./view-search.js";
import {showStatus} from "./view-status.js";

const SECTIONS = [
    {part: "kbs", name: "nav.kbs", icon: "book"},
    {part: "chat", name: "nav.chat", icon: "chat"},
    {part: "search", name: "nav.search", icon: "search"},
    {part: "status", name: "nav.status", icon: "pulse"},
];

/**
 * The function that shows the view of an address. It returns a function that ends what the view has begun. That one is
 * told whether the same view is shown at once in another language; what it returns then is the new view's `before`.
 */
function viewOf([section, id, part, documentId]) {
    if (section === "chat") return {show: showChat, id};
    if (section === "search") return {show: showSearch, id};
    if (section === "status") return {show: showStatus};
    if (id && part === "docs" && documentId) return {show: showChunks, id, documentId};
    return id ? {show: showKb, id, tab: part} : {show: showKbs};
}

const main = el("main", {id: "main", tabindex: -1});
let leave = null;

function showRoute({parts, query}, {inAnotherLanguage = false} = {}) {
    const isFirst = !leave;
    const before = leave?.(inAnotherLanguage);
    document.querySelectorAll("dialog").forEach((each) => each.close());
    drawFrame(parts[0] ?? "kbs");
    const {show, ...of} = viewOf(parts);
    const view = el("div.view");
    fill(main, view);
    leave = show(view, {...of, query, before});
    const heading = view.querySelector("h1");
    document.title = `${heading.textContent} · Route API`;
    if (!isFirst && !view.contains(document.activeElement)) heading.focus({preventScroll: true});
}

function drawFrame(section) {
    document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
    const links = SECTIONS.map(({part, name, icon: picture}) =>
        el(
            "a",
            {href: to([part]), "aria-current": part === section ? "page" : null},
            icon(picture),
            el("span", {}, t(name)),
        ),
    );
    const other = language() === "zh" ? {code: "en", text: "English"} : {code: "zh", text: "中文"};
    fill(
        document.getElementById("app"),
        el("a.skip", {href: "#main", onclick: skip}, t("nav.skip")),
        el(
            "div.frame",
            {},
            el(
                "header.side",
                {},
                el(
                    "a.brand",
                    {href: to(["kbs"])},
                    el("img", {src: `${ROOT}console/icon.svg`, alt: "", width: 28, height: 28}),
                    "Route API",
                ),
                el("nav", {"aria-label": t("nav.label")}, ...links),
                el(
                    "div.side-foot",
                    {},
                    el("a.docs", {href: `${ROOT}docs`}, icon("code"), el("span", {}, t("nav.docs"))),
                    button(other.text, () => choose(other.code), {kind: "quiet", lang: other.code}),
                    button(whoIsThis(), () => showLogin(() => reload()), {
                        kind: "quiet",
                        icon: "key",
                        label: `${t("login.title")}: ${whoIsThis()}`,
                    }),
                ),
            ),
            main,
        ),
    );
}

function whoIsThis() {
    const given = credential();
    return given ? given.name || t("login.withKey") : userId();
}

function choose(code) {
    setLanguage(code);
    reload({inAnotherLanguage: true});
}

function skip(event) {
    event.preventDefault();
    main.focus();
}

addEventListener("login-needed", () => showLogin(() => reload()));
start(showRoute);
