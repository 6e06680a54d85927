// The chunks of a document: read, search, switch one or many. A chunk in the address is marked and scrolled to.

import {call, data} from "./api.js";
import {button, debounced, el, fill, icon} from "./dom.js";
import {stateOf, toggle} from "./documents.js";
import {number, t} from "./i18n.js";
import {to} from "./router.js";
import {attempt, badge, changeHead, codeButton, copyButton, empty, errorBox, loading} from "./widgets.js";

const PAGE_SIZE = 50;

export function showChunks(view, {id: kbId, documentId, query}) {
    const shown = new ChunkPages(kbId, documentId, query.chunk);
    view.append(shown.title, shown.tools, shown.place, shown.list, shown.pager);
    shown.load(1, {untilChunk: query.chunk});
    return () => shown.aborting.abort();
}

class ChunkPages {
    constructor(kbId, documentId, marked) {
        Object.assign(this, {kbId, documentId, marked});
        this.aborting = new AbortController();
        this.chosen = new Set();
        this.title = el("div");
        this.place = el("div");
        this.list = el("ol.chunks");
        this.pager = el("nav.pager", {"aria-label": t("pages")});
        this.search = el("input", {type: "search", placeholder: t("chunks.search"), "aria-label": t("chunks.search")});
        this.search.addEventListener(
            "input",
            debounced(() => this.load(1)),
        );
        this.count = el("span.muted", {role: "status"});
        this.many = el("div.actions", {hidden: true});
        this.all = el("input", {type: "checkbox", "aria-label": t("chunks.all"), onchange: () => this.chooseAll()});
        this.tools = el(
            "div.toolbar",
            {},
            el("label.check", {}, this.all, el("span", {}, t("chunks.all"))),
            el("div.searchbox", {}, icon("search"), this.search),
            this.count,
            this.many,
            codeButton(() => ({name: "chunkList", parameters: this.parameters(1)})),
        );
        this.showHead(t("docs.one"));
    }

    parameters(page) {
        return {
            kb_id: this.kbId,
            doc_id: this.documentId,
            page,
            size: PAGE_SIZE,
            keywords: this.search.value.trim() || undefined,
        };
    }

    showHead(name, state = null) {
        const back = {href: to(["kbs", this.kbId]), text: t("docs.title")};
        changeHead(this.title, name, {back, sub: state && el("p", {}, state)});
    }

    /** @param {string} [untilChunk] go on to the page that has this chunk */
    async load(page, {untilChunk} = {}) {
        this.aborting.abort(); // An earlier search may be answered after this one.
        this.aborting = new AbortController();
        const {signal} = this.aborting;
        fill(this.list, loading());
        try {
            for (;;) {
                const {chunks, doc, total} = await data("chunkList", this.parameters(page), {signal});
                const isHere = !untilChunk || chunks.some(({chunk_id: id}) => id === untilChunk);
                if (isHere || page * PAGE_SIZE >= total) return this.show(page, chunks, doc, total, isHere);
                page++;
            }
        } catch (error) {
            if (!signal.aborted)
                fill(
                    this.list,
                    errorBox(error, () => this.load(page)),
                );
        }
    }

    show(page, chunks, doc, total, isHere) {
        this.chosen.clear();
        this.all.checked = false;
        this.chunks = chunks;
        const isEmpty = doc.run === "3" && !total && !this.search.value;
        this.showHead(doc.name, stateOf(doc, isEmpty));
        this.count.textContent = t("chunks.count", {count: number(total)});
        const first = (page - 1) * PAGE_SIZE;
        fill(this.list, ...chunks.map((chunk, position) => this.row(chunk, first + position + 1)));
        if (!chunks.length) fill(this.list, this.nothing(doc));
        fill(this.place, isHere ? null : el("p.notice", {role: "status"}, t("chunks.gone")));
        this.showPager(page, total);
        this.showMany();
        this.list.querySelector(".marked")?.scrollIntoView({block: "center"});
    }

    nothing(doc) {
        if (this.search.value.trim())
            return empty(t("nothingFound"), t("chunks.notFound", {text: this.search.value.trim()}));
        return doc.run === "3"
            ? empty(t("docs.noChunks"), t("docs.noChunks.text"))
            : empty(t("chunks.none"), t("chunks.none.text"));
    }

    row(chunk, position) {
        const isOn = chunk.available_int === 1;
        const name = t("chunks.number", {number: number(position)});
        const box = el("input", {
            type: "checkbox",
            checked: this.chosen.has(chunk.chunk_id),
            "aria-label": t("chunks.choose", {name}),
            onchange: () => {
                if (box.checked) this.chosen.add(chunk.chunk_id);
                else this.chosen.delete(chunk.chunk_id);
                this.showMany();
            },
        });
        const place = el("div");
        const text = chunk.content_with_weight;
        const change = toggle(t(isOn ? "docs.disable" : "docs.enable", {name}), isOn, (made) =>
            attempt(place, made, async () => {
                await call("chunkSwitch", this.switchParameters([chunk.chunk_id], !isOn));
                chunk.available_int = isOn ? 0 : 1;
                const changed = this.row(chunk, position);
                node.replaceWith(changed);
                changed.querySelector(".switch").focus();
            }),
        );
        const node = el(
            `li.chunk${chunk.chunk_id === this.marked ? ".marked" : ""}${isOn ? "" : ".is-off"}`,
            {},
            el(
                "header",
                {},
                box,
                el("strong", {}, name),
                el("span.muted", {}, t("chunks.characters", {count: number(text.length)})),
                isOn ? null : badge("off", t("docs.off")),
                el("span.grow"),
                codeButton(() => ({name: "chunkSwitch", parameters: this.switchParameters([chunk.chunk_id], !isOn)})),
                copyButton(() => text),
                change,
            ),
            place,
            el("p.text", {}, text),
        );
        return node;
    }

    switchParameters(ids, isOn) {
        return {kb_id: this.kbId, doc_id: this.documentId, chunk_ids: ids, available_int: isOn ? 1 : 0};
    }

    chooseAll() {
        this.list.querySelectorAll("input[type=checkbox]").forEach((box) => (box.checked = this.all.checked));
        this.chosen = new Set(this.all.checked ? this.chunks.map(({chunk_id: id}) => id) : []);
        this.showMany();
    }

    showMany() {
        this.many.hidden = !this.chosen.size;
        const change = (isOn, text) => {
            const made = button(text, () =>
                attempt(this.place, made, async () => {
                    await call("chunkSwitch", this.switchParameters([...this.chosen], isOn));
                    for (const chunk of this.chunks)
                        if (this.chosen.has(chunk.chunk_id)) chunk.available_int = isOn ? 1 : 0;
                    const first = (this.page - 1) * PAGE_SIZE + 1;
                    this.chosen.clear();
                    this.all.checked = false;
                    fill(this.list, ...this.chunks.map((chunk, position) => this.row(chunk, first + position)));
                    this.showMany();
                }),
            );
            return made;
        };
        const count = number(this.chosen.size);
        fill(
            this.many,
            change(true, t("chunks.enableMany", {count})),
            change(false, t("chunks.disableMany", {count})),
            codeButton(() => ({name: "chunkSwitch", parameters: this.switchParameters([...this.chosen], false)})),
        );
    }

    showPager(page, total) {
        this.page = page;
        const last = Math.max(1, Math.ceil(total / PAGE_SIZE));
        fill(
            this.pager,
            button(t("pages.before"), () => this.load(page - 1), {disabled: page <= 1}),
            el("span", {}, t("pages.of", {page: number(page), last: number(last)})),
            button(t("pages.next"), () => this.load(page + 1), {disabled: page >= last}),
        );
        this.pager.hidden = last === 1;
    }
}
