// Chooses knowledge bases, one or several, in a dialog that works for ten and for ten thousand of them.

import {data} from "./api.js";
import {button, debounced, el, fill, icon} from "./dom.js";
import {number, t} from "./i18n.js";
import {dialog} from "./widgets.js";
import {VirtualList} from "./virtual-list.js";

/** How many knowledge bases one question may have: the limit of `kb_ids`. */
const MOST = 10;

/**
 * @param {object} given
 * @param {boolean} given.several whether several may be chosen, else one
 * @param {string} given.none what the button says if none is chosen
 * @param {Function} given.onChange gets the chosen ids
 */
export class KbPicker {
    constructor({several, none, onChange}) {
        Object.assign(this, {several, none, onChange});
        this.names = new Map();
        this.label = el("span.ellipsis");
        this.node = el(
            "button.btn.picker",
            {type: "button", "aria-haspopup": "dialog", onclick: () => this.open()},
            icon("book"),
            this.label,
            icon("chevron"),
        );
        this.show();
    }

    get ids() {
        return [...this.names.keys()];
    }

    /** Choose these. Their names are asked for. */
    async choose(ids) {
        this.names = new Map(ids.map((id) => [id, this.names.get(id) ?? t("loading")]));
        this.show();
        for (const id of ids) {
            try {
                const {name} = await data("kbDetail", {kb_id: id});
                if (this.names.has(id)) this.names.set(id, name);
            } catch (error) {
                if (this.names.has(id)) this.names.set(id, error.code === "kb_not_found" ? t("kb.gone") : id);
            }
            this.show();
        }
    }

    show() {
        const names = [...this.names.values()];
        const text = names.length > 1 ? t("kb.several", {name: names[0], count: number(names.length - 1)}) : names[0];
        this.label.textContent = text ?? this.none;
        this.node.setAttribute("aria-label", `${t("kb.choose")}: ${this.label.textContent}`);
    }

    open() {
        let list = null;
        const shown = dialog(
            t("kb.choose"),
            (close) => {
                const search = el("input", {
                    type: "search",
                    placeholder: t("kbs.search"),
                    "aria-label": t("kbs.search"),
                });
                list = new VirtualList({
                    label: t("nav.kbs"),
                    rowHeight: 44,
                    load: async (page, signal) => {
                        const keywords = search.value.trim() || undefined;
                        const {kbs, total} = await data("kbList", {page, page_size: 100, keywords}, {signal});
                        return {rows: kbs, total};
                    },
                    row: (kb) => [this.option(kb, close, place)],
                    whenEmpty: () => el("p.muted", {}, t("nothingFound")),
                });
                search.addEventListener(
                    "input",
                    debounced(() => list.reload()),
                );
                list.reload();
                const place = el("div");
                const clear = button(this.none, () => this.take(new Map(), close));
                return [
                    el("div.searchbox", {}, icon("search"), search),
                    list.node,
                    place,
                    el("div.actions", {}, clear, this.several ? button(t("done"), close, {kind: "primary"}) : null),
                ];
            },
            {kind: "picker-dialog"},
        );
        shown.addEventListener("close", () => list.close());
    }

    option(kb, close, place) {
        const isChosen = () => this.names.has(kb.id);
        const made = el(
            "button.option",
            {type: "button", "aria-pressed": String(isChosen())},
            el("span.grow.ellipsis", {}, kb.name),
            el("span.muted", {}, t("kbs.docs", {count: number(kb.doc_num)})),
        );
        made.addEventListener("click", () => {
            if (!this.several) return this.take(new Map([[kb.id, kb.name]]), close);
            const isOver = !isChosen() && this.names.size >= MOST;
            fill(place, isOver && el("p.notice", {role: "status"}, t("kb.most", {most: number(MOST), name: kb.name})));
            if (isOver) return undefined;
            if (isChosen()) this.names.delete(kb.id);
            else this.names.set(kb.id, kb.name);
            made.setAttribute("aria-pressed", String(isChosen()));
            return this.take(this.names);
        });
        return made;
    }

    take(names, close = () => {}) {
        this.names = new Map(names);
        this.show();
        close();
        this.onChange(this.ids);
    }
}
