// The documents of a knowledge base: state, switch, download, delete.

import {call, data} from "./api.js";
import {button, debounced, el, fill, icon} from "./dom.js";
import {dateTime, number, size, t} from "./i18n.js";
import {to} from "./router.js";
import {keepDraft} from "./session.js";
import {attempt, badge, codeButton, confirmDeletion, dialog, empty, errorBox} from "./widgets.js";
import {VirtualList} from "./virtual-list.js";

const WATCH_MS = 2500;

/** @returns `{node, reload, close}` */
export function documentList(kbId) {
    const search = keepDraft(
        el("input", {type: "search", placeholder: t("docs.search"), "aria-label": t("docs.search")}),
        `docs.search.${kbId}`,
    );
    const place = el("div");
    const stale = el("div");
    const count = el("span.muted", {role: "status"});
    const parameters = (page = 1) => ({kb_id: kbId, page, page_size: 100, keywords: search.value.trim() || undefined});
    let timer = 0;
    const lookAgain = () => {
        clearTimeout(timer);
        timer = setTimeout(() => list.reload({quietly: true}), WATCH_MS);
    };
    const list = new VirtualList({
        label: t("docs.title"),
        rowHeight: 64,
        load: async (page, signal) => {
            const {docs, total} = await data("documentList", parameters(page), {signal});
            clearTimeout(timer);
            fill(stale);
            if (docs.some(isInWork)) lookAgain();
            return {rows: docs, total};
        },
        onStale: (error) => {
            fill(stale, errorBox(error));
            lookAgain();
        },
        row: (document) => documentRow({document, kbId, list, place}),
        whenEmpty: () =>
            search.value.trim()
                ? empty(t("nothingFound"), t("docs.notFound", {text: search.value.trim()}))
                : empty(t("docs.first.title"), t("docs.first.text")),
        onTotal: (total) => (count.textContent = t("docs.count", {count: number(total)})),
    });
    search.addEventListener(
        "input",
        debounced(() => list.reload()),
    );
    list.reload();
    const tools = el(
        "div.toolbar",
        {},
        el("div.searchbox", {}, icon("search"), search),
        count,
        codeButton(() => ({name: "documentList", parameters: parameters()})),
    );
    return {
        node: el("section.stack.grow", {"aria-label": t("docs.title")}, tools, place, stale, list.node),
        reload: debounced(() => list.reload({quietly: true}), 300),
        close: () => {
            clearTimeout(timer);
            list.close();
        },
    };
}

function isInWork({run}) {
    return run === "0" || run === "1";
}

/**
 * The state of a document in words: a badge.
 *
 * @param {object} document a row of `document/list`
 * @param {boolean} [isEmpty] whether it has ended without any chunk
 */
export function stateOf({run, progress, chunk_num: chunks, status}, isEmpty = false) {
    if (run === "4") return badge("bad", t("state.error"));
    if (run === "0") return badge("off", t("state.waiting"));
    if (run === "1")
        return badge("busy", `${t("state.indexing")} ${progress > 0 ? number(progress, {style: "percent"}) : "…"}`);
    if (run === "2") return badge("off", t("state.paused"));
    if (isEmpty) return badge("bad", t("docs.noChunks"));
    if (status === "0") return badge("off", t("docs.off"));
    return badge("ok", chunks ? t("docs.chunks", {count: number(chunks)}) : t("docs.ready"));
}

function documentRow({document: doc, kbId, list, place}) {
    const isOn = doc.status === "1";
    const detail = el("p.row-sub", {}, [size(doc.size), dateTime(doc.create_time)].join(" · "));
    const state = el("span.row-state", {}, stateOf(doc));
    const sayLoudly = (text) => {
        detail.classList.add("loud");
        fill(detail, text);
        detail.title = text;
    };
    if (doc.run === "4" && doc.progress_msg) sayLoudly(doc.progress_msg);
    hasNoChunks(kbId, doc).then((isEmpty) => {
        if (!isEmpty) return;
        fill(state, stateOf(doc, true));
        sayLoudly(t("docs.noChunks.text"));
    });
    return [
        el("span.row-icon", {}, icon("file")),
        el("div.grow", {}, el("a.row-title", {href: to(["kbs", kbId, "docs", doc.id])}, doc.name), detail),
        state,
        toggle(t(isOn ? "docs.disable" : "docs.enable", {name: doc.name}), isOn, (made) =>
            attempt(place, made, async () => {
                await call("documentChangeStatus", switchParameters(kbId, doc));
                list.replace(
                    ({id}) => id === doc.id,
                    (row) => ({...row, status: isOn ? "0" : "1"}),
                );
            }),
        ),
        button("", () => showActions({doc, kbId, list, place}), {
            icon: "more",
            kind: "quiet",
            label: t("docs.actions", {name: doc.name}),
        }),
    ];
}

const known = new Map();

/**
 * Whether a document that is indexed has no chunks. The list counts them only if the gateway has a login to Dify's
 * console; where it shows 0, the document itself is asked, once.
 */
async function hasNoChunks(kbId, {id, run, chunk_num: chunks}) {
    if (run !== "3") known.delete(id); // It is indexed anew.
    if (run !== "3" || chunks > 0) return false;
    if (!known.has(id))
        known.set(
            id,
            data("chunkList", {kb_id: kbId, doc_id: id, size: 1}).then(({total}) => total === 0),
        );
    try {
        return await known.get(id);
    } catch {
        known.delete(id); // The row stays as the list has it, and the next drawing asks again.
        return false;
    }
}

/** A switch. @param {Function} onChange gets the switch */
export function toggle(label, isOn, onChange) {
    const made = el("button.switch", {
        type: "button",
        role: "switch",
        "aria-checked": String(isOn),
        "aria-label": label,
        title: label,
    });
    made.addEventListener("click", () => onChange(made));
    return made;
}

function switchParameters(kbId, doc) {
    return {kb_id: kbId, doc_id: doc.id, action: doc.status === "1" ? "disable" : "enable"};
}

async function showActions({doc, kbId, list}) {
    const isEmpty = await hasNoChunks(kbId, doc);
    const download = {name: "documentDownload", parameters: {kb_id: kbId, document_id: doc.id}};
    const remove = {name: "documentRm", parameters: {kb_id: kbId, doc_id: doc.id}};
    dialog(doc.name, (close) => {
        const place = el("div");
        const save = button(t("docs.download"), () => attempt(place, save, () => saveFile(download)), {icon: "down"});
        return [
            el("p.muted", {}, [size(doc.size), dateTime(doc.create_time), `${t("id")} ${doc.id}`].join(" · ")),
            stateOf(doc, isEmpty),
            isEmpty || doc.progress_msg ? el("p.notice", {}, isEmpty ? t("docs.noChunks.text") : doc.progress_msg) : null,
            place,
            el(
                "div.actions",
                {},
                codeButton(() => [
                    download,
                    {name: "documentChangeStatus", parameters: switchParameters(kbId, doc)},
                    remove,
                ]),
                save,
                button(
                    t("delete"),
                    () => {
                        close();
                        askToDelete({doc, remove, list});
                    },
                    {icon: "trash", kind: "danger"},
                ),
            ),
        ].filter(Boolean);
    });
}

function askToDelete({doc, remove, list}) {
    confirmDeletion(t("docs.delete.title"), t("docs.delete.text", {name: doc.name}), {
        code: remove,
        action: async () => {
            await call(remove.name, remove.parameters);
            await list.reload({quietly: true});
        },
    });
}

/** Let the browser save a file that the server sends. */
async function saveFile({name, parameters}) {
    const file = await call(name, parameters);
    const address = URL.createObjectURL(file);
    el("a", {href: address, download: file.name}).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
