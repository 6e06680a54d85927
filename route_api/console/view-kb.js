// One knowledge base: its documents, and its settings.

import {data} from "./api.js";
import {button, el, fill} from "./dom.js";
import {t} from "./i18n.js";
import {documentList} from "./documents.js";
import {kbForm} from "./kb-form.js";
import {go, to} from "./router.js";
import {changeHead, codeButton, errorBox, loading} from "./widgets.js";
import {uploadPanel} from "./upload.js";

export function showKb(view, {id, tab = "docs"}) {
    const aborting = new AbortController();
    const title = el("div");
    const body = el("div.stack.grow");
    const ends = [() => aborting.abort()];
    view.append(title, tabs(id, tab), body);
    changeHead(title, t("kb.one"), head(id));
    const load = async () => {
        fill(body, loading());
        try {
            const kb = await data("kbDetail", {kb_id: id}, {signal: aborting.signal});
            changeHead(title, kb.name, head(id, kb.description));
            if (tab === "settings") fill(body, settings(kb, load));
            else ends.push(documents(body, kb));
        } catch (error) {
            if (!aborting.signal.aborted) fill(body, errorBox(error, load));
        }
    };
    load();
    return () => ends.forEach((end) => end());
}

function head(id, description = "") {
    const actions = [
        codeButton(() => ({name: "kbDetail", parameters: {kb_id: id}})),
        button(t("nav.search"), () => go(["search"], {kb: id}), {icon: "search"}),
        button(t("ask"), () => go(["chat"], {kb: id}), {icon: "chat", kind: "primary"}),
    ];
    const back = {href: to(["kbs"]), text: t("nav.kbs")};
    return {actions, back, sub: description ? el("p.muted", {}, description) : null};
}

function tabs(id, current) {
    const choices = [
        ["docs", t("docs.title"), ["kbs", id]],
        ["settings", t("kb.settings"), ["kbs", id, "settings"]],
    ];
    return el(
        "nav.tabs",
        {"aria-label": t("kb.parts")},
        ...choices.map(([name, text, path]) =>
            el("a", {href: to(path), "aria-current": name === current ? "page" : null}, text),
        ),
    );
}

function settings(kb, reload) {
    const saved = el("p.notice.good", {role: "status", hidden: true}, t("saved"));
    const form = kbForm({
        kb,
        onDone: async () => {
            await reload();
            document.querySelector(".view .saved")?.append(saved);
            saved.hidden = false;
        },
    });
    return el("section.card.narrow", {}, ...form, el("div.saved"));
}

function documents(body, kb) {
    const list = documentList(kb.id);
    const panel = uploadPanel(kb.id, () => list.reload());
    fill(body, panel.node, list.node);
    return () => {
        panel.close();
        list.close();
    };
}
