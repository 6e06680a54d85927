// Files dropped into a knowledge base: the bar of each upload, then of its indexing, and its error.

import {call, data, isGone} from "./api.js";
import {button, el, fill, icon, pause} from "./dom.js";
import {number, size, t} from "./i18n.js";
import {go} from "./router.js";
import {keepDraft} from "./session.js";
import {Refusal, announce, badge, codeButton, errorBox, field, progressBar, select, warningsOf} from "./widgets.js";

const AT_ONCE = 3;
const POLL_MS = 700;
const POLL_MS_EACH = 160;
const SHOWN_FILES = 200;

/** The uploads of each knowledge base. They go on while another view is shown. */
const queues = new Map();

// A file that is dropped beside its place must not make the browser leave this page for the file.
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());

addEventListener("beforeunload", (event) => {
    if ([...queues.values()].some((queue) => queue.running)) event.preventDefault();
});

/**
 * The place to drop files on.
 *
 * @param {string} kbId
 * @param {Function} onChange is called when the list of documents has changed
 * @returns `{node, close}`
 */
export function uploadPanel(kbId, onChange) {
    const queue = queues.get(kbId) ?? new Queue(kbId);
    queues.set(kbId, queue);
    queue.onChange = onChange;
    queue.relabel();
    const input = el("input", {type: "file", multiple: true, hidden: true});
    const settings = settingsFields(kbId);
    const parameters = (files) => ({kb_id: kbId, ...settings.values(), file: files});
    const add = (files) => queue.add([...files].map((file) => ({file, parameters: parameters(file)})));
    input.addEventListener("change", () => {
        add(input.files);
        input.value = "";
    });
    const choose = button(t("upload.choose"), () => input.click(), {icon: "upload", kind: "primary"});
    const zone = el(
        "section.dropzone",
        {"aria-label": t("upload.title")},
        el("div.grow", {}, el("p.strong", {}, t("upload.drop")), el("p.hint", {}, t("upload.kinds"))),
        input,
        choose,
        codeButton(() => ({name: "documentUpload", parameters: parameters([new File([], "example.txt")])})),
    );
    zone.addEventListener("dragover", (event) => {
        event.preventDefault();
        zone.classList.add("over");
    });
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
        event.preventDefault();
        zone.classList.remove("over");
        add(event.dataTransfer.files);
    });
    return {node: el("div.stack", {}, zone, settings.node, queue.node), close: () => (queue.onChange = () => {})};
}

function settingsFields(kbId) {
    const draft = (name, input) => keepDraft(input, `upload.${kbId}.${name}`);
    const duplicate = draft(
        "on_duplicate",
        select(
            [
                ["rename", t("upload.rename")],
                ["replace", t("upload.replace")],
                ["reject", t("upload.reject")],
            ],
            "rename",
        ),
    );
    const mode = draft(
        "mode",
        select(
            [
                ["custom", t("upload.custom")],
                ["automatic", t("upload.automatic")],
            ],
            "custom",
        ),
    );
    const separator = draft("separator", el("input", {type: "text", placeholder: "\\n\\n"}));
    const tokens = draft("max_tokens", el("input", {type: "number", min: 50, max: 4000, placeholder: "500"}));
    const overlap = draft("chunk_overlap", el("input", {type: "number", min: 0, max: 4000, placeholder: "50"}));
    const node = el(
        "details.fold",
        {},
        el("summary", {}, t("upload.settings")),
        el(
            "div.columns",
            {},
            field(t("upload.duplicate"), duplicate, t("upload.duplicate.hint")),
            field(t("upload.mode"), mode, t("upload.mode.hint")),
            field(t("upload.separator"), separator, t("upload.separator.hint")),
            field(t("upload.tokens"), tokens, t("upload.tokens.hint")),
            field(t("upload.overlap"), overlap, t("upload.overlap.hint")),
        ),
    );
    const chosen = (input, unless) => (input.value === unless ? undefined : input.value);
    const values = () => ({
        on_duplicate: chosen(duplicate, "rename"),
        mode: chosen(mode, "custom"),
        separator: separator.value === "" ? undefined : separator.value.replaceAll("\\n", "\n").replaceAll("\\t", "\t"),
        max_tokens: chosen(tokens, ""),
        chunk_overlap: chosen(overlap, ""),
    });
    return {node, values};
}

/** Uploads that run side by side, a few at a time, and the rows that show them. */
class Queue {
    constructor(kbId) {
        this.kbId = kbId;
        this.waiting = [];
        this.running = 0;
        this.indexing = 0;
        this.files = new Set();
        this.rows = el("ul.uploads");
        this.summary = el("p.grow");
        this.head = el("div.toolbar");
        this.node = el("div", {}, this.head, this.rows);
    }

    /** Write everything in the page's language, which may have changed since it was written. */
    relabel() {
        this.rows.setAttribute("aria-label", t("upload.running"));
        const clear = button(t("upload.clear"), () => this.forgetFinished(), {kind: "quiet"});
        this.ask = button(t("upload.ask"), () => go(["chat"], {kb: this.kbId}), {kind: "primary", icon: "chat"});
        fill(this.head, this.summary, clear, this.ask);
        this.files.forEach((row) => row.draw());
        this.count();
    }

    add(uploads) {
        for (const upload of uploads) this.waiting.push({...upload, row: this.rowFor(upload.file)});
        this.count();
        this.next();
    }

    rowFor(file) {
        const row = {node: el("li"), file, end: "", warnings: []};
        this.files.add(row);
        show(row, () => ({state: badge("off", t("upload.waiting"))}));
        if (this.rows.childElementCount < SHOWN_FILES) this.rows.append(row.node);
        return row;
    }

    next() {
        while (this.running < AT_ONCE && this.waiting.length) {
            this.running++;
            this.upload(this.waiting.shift());
        }
    }

    async upload({file, parameters, row, key = crypto.randomUUID?.() ?? String(Math.random())}) {
        if (!row.node.parentNode) this.rows.append(row.node);
        let uploaded = null;
        try {
            const onProgress = ({loaded, total}) => {
                const part = total ? loaded / total : 0;
                show(row, () => ({
                    state: badge("busy", t("upload.sending", {percent: percent(part)})),
                    part,
                    label: t("upload.sending", {percent: ""}),
                }));
            };
            onProgress({loaded: 0, total: file.size});
            const answer = await call("documentUpload", parameters, {onProgress, idempotencyKey: key});
            row.warnings = answer.warnings ?? [];
            [uploaded] = answer.data;
        } catch (error) {
            this.fail(row, error, () => {
                row.end = "";
                this.waiting.push({file, parameters, row, key});
                this.next();
            });
        }
        this.running--;
        this.next();
        if (!uploaded) return;
        this.onChange();
        this.indexing++;
        await this.index(uploaded, row);
        this.indexing--;
    }

    fail(row, error, retry) {
        show(
            row,
            () => ({state: badge("bad", t("upload.failed"))}),
            () => errorBox(error, retry),
        );
        this.end(row, "failed");
    }

    /** Watch the indexing until it ends. An error in between, as of a Dify that is away, is shown, and asked again. */
    async index(document, row) {
        for (;;) {
            try {
                const {
                    data: [state],
                } = await data("documentStatus", {kb_id: this.kbId, batch: document.batch});
                if (this.showState(row, state)) return;
            } catch (error) {
                if (isGone(error)) return this.fail(row, error);
                show(row, row.look, () => errorBox(error));
                await pause(Math.max(POLL_MS * 4, 1000 * (error.retryAfter ?? 0)));
            }
            // Forty files together ask six times a second, far below the rate limit of one address.
            await pause(Math.max(POLL_MS, POLL_MS_EACH * this.indexing));
        }
    }

    /** @returns whether the indexing has ended */
    showState(row, {indexing_status: status, progress, error, total_segments: chunks}) {
        if (status === "error") {
            this.fail(row, new Refusal(error || t("state.error")));
            this.onChange();
            return true;
        }
        if (status !== "completed") {
            show(row, () => {
                const words = t("upload.indexing", {state: t(`state.${status}`), percent: percent(progress)});
                return {state: badge("busy", words), part: progress, label: words};
            });
            return false;
        }
        if (chunks) show(row, () => ({state: badge("ok", t("upload.done", {count: number(chunks)}))}));
        else show(row, () => ({state: badge("bad", t("docs.noChunks"))}), noChunks);
        this.end(row, chunks ? "indexed" : "empty");
        this.onChange();
        return true;
    }

    end(row, how) {
        row.end = how;
        const text = this.count();
        if ([...this.files].every(({end}) => end)) announce(text);
    }

    count() {
        const ended = (...ways) => [...this.files].filter(({end}) => ways.includes(end)).length;
        const indexed = ended("indexed");
        this.head.hidden = this.files.size === 0;
        this.ask.hidden = indexed === 0;
        this.summary.textContent = t("upload.summary", {
            all: number(this.files.size),
            indexed: number(indexed),
            failed: number(ended("failed", "empty")),
        });
        return this.summary.textContent;
    }

    forgetFinished() {
        for (const row of this.files) {
            if (!row.end) continue;
            row.node.remove();
            this.files.delete(row);
        }
        this.count();
    }
}

/** Draw the row of a file. `look` makes its state, with the part that is done; `problem` makes what stands below. */
function show(row, look, problem = () => null) {
    row.look = look;
    row.draw = () => {
        const {state, part = null, label = ""} = look();
        const name = el("span.grow.name", {title: row.file.name}, row.file.name);
        fill(
            row.node,
            el("div.upload-line", {}, icon("file"), name, el("span.muted", {}, size(row.file.size)), state),
            part === null ? null : progressBar(part, label),
            warningsOf(row),
            problem(),
        );
    };
    row.draw();
}

function noChunks() {
    return el("div.error", {role: "alert"}, icon("warning"), el("p", {}, t("docs.noChunks.text")));
}

function percent(part) {
    return number(part, {style: "percent"});
}
