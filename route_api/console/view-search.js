// The search test: one question with two settings side by side, with scores, marks and a histogram.

import {data} from "./api.js";
import {el, fill} from "./dom.js";
import {number, t} from "./i18n.js";
import {isHybrid, methodChoices, slider, weightOf} from "./kb-form.js";
import {KbPicker} from "./kb-picker.js";
import {rename, to} from "./router.js";
import {keepDraft} from "./session.js";
import {histogram} from "./plot.js";
import {Refusal, attempt, codeButton, empty, field, loading, pageHead, select} from "./widgets.js";
import {markedText} from "./marks.js";

export function showSearch(view, {query}) {
    const question = keepDraft(el("textarea", {rows: 2, required: true, maxlength: 4000}), "search.question");
    const picker = new KbPicker({
        several: false,
        none: t("kb.choose"),
        onChange: ([id]) => rename(["search"], {kb: id}),
    });
    if (query.kb) picker.choose([query.kb]);
    const sides = ["A", "B"].map((name) => new Side(name, () => ({kb_id: picker.ids[0], question: question.value})));
    const both = keepDraft(el("input", {type: "checkbox"}), "search.both");
    const showSides = () => (sides[1].node.hidden = !both.checked);
    both.addEventListener("input", showSides);
    showSides();
    const place = el("div");
    const send = el("button.btn.primary", {type: "submit"}, t("search.go"));
    const form = el(
        "form.card.stack",
        {},
        el("div.field", {}, el("span.label", {}, t("kb.one")), picker.node),
        field(t("search.question"), question),
        el("div.toolbar", {}, field(t("search.both"), both), el("span.grow"), send),
        place,
    );
    form.addEventListener("submit", (event) => {
        event.preventDefault();
        attempt(place, send, async () => {
            if (!picker.ids.length) throw new Refusal(t("search.noKb"));
            await Promise.all(sides.filter(({node}) => !node.hidden).map((side) => side.search()));
        });
    });
    question.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            form.requestSubmit();
        }
    });
    view.append(pageHead(t("nav.search")), form, el("div.sides", {}, ...sides.map(({node}) => node)));
    return () => sides.forEach((side) => side.aborting.abort());
}

/** One choice of settings, and what a search with it finds. */
class Side {
    constructor(name, common) {
        this.name = name;
        this.common = common;
        this.aborting = new AbortController();
        const draft = (key, input) => keepDraft(input, `search.${name}.${key}`);
        this.method = draft("method", select(methodChoices(), name === "A" ? "semantic_search" : "hybrid_search"));
        this.topK = draft("top_k", el("input", {type: "number", min: 1, max: 1024, value: 8, required: true}));
        this.threshold = slider(0.2);
        this.weight = slider(0.6);
        for (const part of ["threshold", "weight"]) {
            draft(part, this[part].input);
            this[part].show();
        }
        this.cuts = draft("cuts", el("input", {type: "checkbox"}));
        this.results = el("div.stack");
        this.place = el("div");
        this.threshold.input.addEventListener("input", () => this.draw());
        this.node = el(
            "section.side-by-side.stack",
            {"aria-label": t("search.setting", {name})},
            el(
                "div.card.stack",
                {},
                el(
                    "header.toolbar",
                    {},
                    el("h2.grow", {}, t("search.setting", {name})),
                    codeButton(() => ({name: "chunkRetrievalTest", parameters: this.parameters()})),
                ),
                el(
                    "div.columns",
                    {},
                    field(t("kb.method"), this.method),
                    field(t("kb.topK"), this.topK),
                    this.threshold.node(t("kb.threshold")),
                    weightOf(this.method, this.weight.node(t("kb.weight"))),
                ),
                field(t("search.cut"), this.cuts),
            ),
            this.place,
            this.results,
        );
    }

    parameters() {
        return {
            ...this.common(),
            search_method: this.method.value,
            top_k: Number(this.topK.value),
            score_threshold_enabled: this.cuts.checked,
            similarity_threshold: Number(this.threshold.input.value),
            vector_similarity_weight:
                isHybrid(this.method) ? Number(this.weight.input.value) : undefined,
        };
    }

    search() {
        return attempt(this.place, null, async () => {
            this.found = null;
            fill(this.results, loading());
            const begun = performance.now();
            try {
                const asked = this.parameters();
                const {chunks, query} = await data("chunkRetrievalTest", asked, {signal: this.aborting.signal});
                this.found = {chunks, query, kbId: asked.kb_id, ms: performance.now() - begun};
            } finally {
                fill(this.results);
            }
            this.draw();
        });
    }

    draw() {
        if (!this.found) return;
        const {chunks, ms} = this.found;
        const threshold = Number(this.threshold.input.value);
        const above = chunks.filter(({similarity}) => similarity >= threshold).length;
        const summary = t("search.summary", {
            count: number(chunks.length),
            above: number(above),
            ms: number(Math.round(ms)),
        });
        if (!chunks.length) return fill(this.results, empty(t("nothingFound"), t("search.nothing")));
        return fill(
            this.results,
            el("p.muted", {role: "status"}, summary),
            histogram(
                chunks.map(({similarity}) => similarity),
                threshold,
                t("search.histogram"),
            ),
            el("ol.results", {}, ...chunks.map((chunk) => this.result(chunk, threshold))),
        );
    }

    result(chunk, threshold) {
        const {query, kbId} = this.found;
        const score = chunk.similarity;
        const bar = el("meter", {min: 0, max: Math.max(1, score), value: score, "aria-label": t("search.score")});
        return el(
            `li.result${score < threshold ? ".below" : ""}`,
            {},
            el(
                "header",
                {},
                bar,
                el("strong", {}, number(score, {minimumFractionDigits: 3, maximumFractionDigits: 3})),
                el(
                    "a.grow.ellipsis",
                    {href: to(["kbs", kbId, "docs", chunk.doc_id], {chunk: chunk.chunk_id})},
                    chunk.docnm_kwd,
                ),
                score < threshold ? el("span.muted", {}, t("search.below")) : null,
            ),
            el("p.text", {}, ...markedText(chunk.content_with_weight, query)),
        );
    }
}
