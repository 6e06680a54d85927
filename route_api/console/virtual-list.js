// A list of any length: only the rows on the screen are in the document, and only their pages are loaded.

import {el, fill} from "./dom.js";
import {number, t} from "./i18n.js";
import {errorBox, loading} from "./widgets.js";

const SPARE_ROWS = 6;
const FOCUSABLE = "a, button";

/** A scrolling list whose rows all have the same height. */
export class VirtualList {
    /**
     * @param {object} given
     * @param {string} given.label the list's name for screen readers
     * @param {number} given.rowHeight in pixels
     * @param {number} [given.pageSize] rows that one call of `load` gives
     * @param {Function} given.load takes a page from 1 and an AbortSignal, returns `{rows, total}`
     * @param {Function} given.row makes the content of a row: `(row, position) => Node[]`
     * @param {Function} [given.whenEmpty] makes what is shown in the place of no rows
     * @param {Function} [given.onTotal] is told the number of rows
     * @param {Function} [given.onStale] gets the error if the rows on the screen could not be brought up to date quietly
     */
    constructor({label, rowHeight, pageSize = 100, load, row, whenEmpty, onTotal = () => {}, onStale = null}) {
        Object.assign(this, {rowHeight, pageSize, load, row, whenEmpty, onTotal, onStale});
        this.rows = el("div.rows", {role: "list", "aria-label": label});
        this.node = el("div.virtual", {}, this.rows);
        this.pages = new Map();
        this.shown = new Map();
        this.total = 0;
        this.aborting = new AbortController();
        this.node.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()), {passive: true});
        this.watcher = new ResizeObserver(() => this.draw());
        this.watcher.observe(this.node);
    }

    /** Load the list from its beginning; the rows on the screen stay until the new ones are there. */
    async reload({quietly = false} = {}) {
        this.aborting.abort();
        this.aborting = new AbortController();
        const {signal} = this.aborting;
        if (!quietly && !this.total) fill(this.node, loading());
        this.node.setAttribute("aria-busy", String(!quietly));
        try {
            const first = 1 + Math.floor(this.firstRow() / this.pageSize);
            const page = quietly ? first : 1;
            const {rows, total} = await this.load(page, signal);
            if (!quietly) this.node.scrollTop = 0;
            this.pages = new Map([[page, rows]]);
            this.node.setAttribute("aria-busy", "false");
            this.setTotal(total);
        } catch (error) {
            if (signal.aborted) return;
            this.node.setAttribute("aria-busy", "false");
            if (quietly && this.total && this.onStale) {
                this.onStale(error);
                return;
            }
            this.shown.clear();
            fill(
                this.node,
                errorBox(error, () => this.reload()),
            );
        }
    }

    /** Stop watching and loading. */
    close() {
        this.aborting.abort();
        this.watcher.disconnect();
    }

    setTotal(total) {
        this.total = total;
        this.onTotal(total);
        if (!total && this.whenEmpty) {
            this.shown.clear();
            fill(this.node, this.whenEmpty());
            return;
        }
        if (this.node.firstChild !== this.rows) fill(this.node, this.rows);
        this.rows.style.height = `${total * this.rowHeight}px`;
        this.redraw();
    }

    /** Make the rows on the screen anew. The focus stays where it is in its row. */
    redraw() {
        const focused = this.rows.contains(document.activeElement) ? document.activeElement : null;
        const row = focused?.closest(".row");
        const at = row ? [...row.querySelectorAll(FOCUSABLE)].indexOf(focused) : -1;
        this.shown.clear();
        fill(this.rows);
        this.draw();
        const again = row && this.rows.querySelector(`[aria-posinset="${row.ariaPosInSet}"]`);
        if (again) again.querySelectorAll(FOCUSABLE)[at]?.focus({preventScroll: true});
    }

    firstRow() {
        return Math.floor(this.node.scrollTop / this.rowHeight);
    }

    /** The row at a position, if it is loaded. */
    at(position) {
        return this.pages.get(1 + Math.floor(position / this.pageSize))?.[position % this.pageSize];
    }

    /** Put another row in the place of one that has changed. */
    replace(isSame, change) {
        for (const rows of this.pages.values()) {
            const position = rows?.findIndex(isSame) ?? -1;
            if (position >= 0) rows[position] = change(rows[position]);
        }
        this.redraw();
    }

    draw() {
        if (!this.rows.isConnected) return;
        const first = Math.max(0, this.firstRow() - SPARE_ROWS);
        const visible = Math.ceil(this.node.clientHeight / this.rowHeight);
        const end = Math.min(this.total, this.firstRow() + visible + SPARE_ROWS);
        for (const [position, node] of this.shown) {
            if (position >= first && position < end) continue;
            node.remove();
            this.shown.delete(position);
        }
        for (let position = first; position < end; position++) this.show(position);
    }

    show(position) {
        const row = this.at(position);
        const before = this.shown.get(position);
        if (before?.dataset.loaded === "true" || (before && !row)) return;
        before?.remove();
        if (!row) this.fetchPage(1 + Math.floor(position / this.pageSize));
        const content = row
            ? this.row(row, position)
            : [el("span.muted", {}, `${t("loading")} ${number(position + 1)}`)];
        const place = {role: "listitem", "aria-setsize": this.total, "aria-posinset": position + 1};
        const node = el("div.row", {...place, "data-loaded": String(Boolean(row))}, ...content);
        node.style.top = `${position * this.rowHeight}px`;
        node.style.height = `${this.rowHeight}px`;
        this.shown.set(position, node);
        const next = [...this.rows.children].find((other) => Number(other.ariaPosInSet) > position + 1);
        this.rows.insertBefore(node, next ?? null);
    }

    async fetchPage(page) {
        if (this.pages.has(page)) return;
        this.pages.set(page, undefined);
        const {signal} = this.aborting;
        try {
            const {rows, total} = await this.load(page, signal);
            this.pages.set(page, rows);
            if (total !== this.total) this.setTotal(total);
            else this.draw();
        } catch (error) {
            this.pages.delete(page);
            if (!signal.aborted)
                fill(
                    this.node,
                    errorBox(error, () => this.reload()),
                );
        }
    }
}
