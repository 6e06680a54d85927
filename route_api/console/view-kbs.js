// The knowledge bases: list with search, a new one, deletion.

import {call, data} from "./api.js";
import {button, debounced, el, icon} from "./dom.js";
import {dateTime, number, t} from "./i18n.js";
import {kbForm} from "./kb-form.js";
import {go, to} from "./router.js";
import {dropDrafts, keepDraft} from "./session.js";
import {codeButton, confirmDeletion, dialog, empty, pageHead} from "./widgets.js";
import {VirtualList} from "./virtual-list.js";

const SEARCH = "kbs.search";

export function showKbs(view) {
    const search = keepDraft(
        el("input", {type: "search", placeholder: t("kbs.search"), "aria-label": t("kbs.search")}),
        SEARCH,
    );
    const parameters = (page = 1) => ({page, page_size: 100, keywords: search.value.trim() || undefined});
    const count = el("span.muted", {role: "status"});
    const list = new VirtualList({
        label: t("nav.kbs"),
        rowHeight: 72,
        load: async (page, signal) => {
            const {kbs, total} = await data("kbList", parameters(page), {signal});
            return {rows: kbs, total};
        },
        row: (kb) => kbRow(kb, list),
        whenEmpty: () => (search.value.trim() ? nothingFound(search, list) : firstKb()),
        onTotal: (total) => (count.textContent = t("kbs.count", {count: number(total)})),
    });
    search.addEventListener(
        "input",
        debounced(() => list.reload()),
    );
    const add = button(t("kbs.new"), showNewKb, {kind: "primary", icon: "plus"});
    view.append(
        pageHead(t("nav.kbs"), {actions: [codeButton(() => ({name: "kbList", parameters: parameters()})), add]}),
        el("div.toolbar", {}, el("div.searchbox", {}, icon("search"), search), count),
        list.node,
    );
    list.reload();
    return () => list.close();
}

function kbRow(kb, list) {
    const detail = [
        t("kbs.docs", {count: number(kb.doc_num)}),
        t("kbs.tokens", {count: number(kb.token_num)}),
        dateTime(kb.update_time),
    ];
    return [
        el("span.row-icon", {}, icon("book")),
        el(
            "div.grow",
            {},
            el("a.row-title", {href: to(["kbs", kb.id])}, kb.name),
            el("p.row-sub", {}, kb.description || detail.join(" · ")),
        ),
        kb.description ? el("span.row-sub.wide-only", {}, detail[0]) : null,
        button(t("ask"), () => go(["chat"], {kb: kb.id}), {icon: "chat", kind: "quiet wide-only"}),
        button("", () => askToDelete(kb, list), {
            icon: "trash",
            kind: "quiet",
            label: t("kbs.delete", {name: kb.name}),
        }),
    ].filter(Boolean);
}

function askToDelete(kb, list) {
    const code = {name: "kbRm", parameters: {kb_id: kb.id}};
    confirmDeletion(t("kbs.delete.title"), t("kbs.delete.text", {name: kb.name, count: number(kb.doc_num)}), {
        typeBack: kb.name,
        code,
        action: async () => {
            await call(code.name, code.parameters);
            await list.reload();
        },
    });
}

function nothingFound(search, list) {
    return empty(
        t("nothingFound"),
        t("kbs.notFound", {text: search.value.trim()}),
        button(t("search.clear"), () => {
            search.value = "";
            dropDrafts(SEARCH);
            list.reload();
        }),
    );
}

function firstKb() {
    return empty(
        t("kbs.first.title"),
        t("kbs.first.text"),
        button(t("kbs.new"), showNewKb, {kind: "primary", icon: "plus"}),
    );
}

function showNewKb() {
    dialog(t("kbs.new"), (close) =>
        kbForm({
            onDone: ({kb_id: id}) => {
                close();
                go(["kbs", id]);
            },
        }),
    );
}
