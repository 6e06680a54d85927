// The form of a knowledge base, to make one or to change one. Each setting is explained in a sentence.

import {call} from "./api.js";
import {el, fill} from "./dom.js";
import {number, t} from "./i18n.js";
import {dropDrafts, keepDraft} from "./session.js";
import {attempt, codeButton, field, select, warningsOf} from "./widgets.js";

const METHODS = ["semantic_search", "full_text_search", "hybrid_search", "keyword_search"];

/** The choices of a search method, for `select`. */
export function methodChoices() {
    return METHODS.map((method) => [method, t(`method.${method}`)]);
}

/** Whether a select of a search method has the one that weighs meaning against words. */
export function isHybrid(method) {
    return method.value === "hybrid_search";
}

/** The field of the weight, which is shown as long as it has an effect: with a hybrid search. */
export function weightOf(method, node) {
    const show = () => {
        node.hidden = !isHybrid(method);
        node.querySelector("input").disabled = node.hidden; // A hidden field that is invalid would stop the form.
    };
    method.addEventListener("input", show);
    show();
    return node;
}

/** A number on a slider, with its value beside it. */
export function slider(value, {min = 0, max = 1, step = 0.01} = {}) {
    const input = el("input", {type: "range", min, max, step, value});
    const output = el("output", {}, number(value));
    const show = () => (output.textContent = number(input.value));
    input.addEventListener("input", show);
    return {
        input,
        show,
        node: (label, hint) => {
            const made = field(label, input, hint);
            made.insertBefore(output, input);
            return made;
        },
    };
}

/**
 * @param {object} given
 * @param {object} [given.kb] the knowledge base to change; left out: a new one
 * @param {Function} given.onDone gets the `data` of the answer
 */
export function kbForm({kb = null, onDone}) {
    const draftOf = (name) => `kb.${kb?.id ?? "new"}.${name}`;
    const {fields, before} = fieldsOf(kb, draftOf);
    const parameters = () => ({...(kb ? {kb_id: kb.id} : {}), ...changesOf({fields, before})});
    const place = el("div");
    const send = el("button.btn.primary", {type: "submit"}, t(kb ? "save" : "create"));
    const code = () => ({name: kb ? "kbUpdate" : "kbCreate", parameters: parameters()});
    const form = el(
        "form.stack",
        {},
        field(t("kb.name"), fields.name),
        field(t("kb.description"), fields.description, t("kb.description.hint")),
        el("details.fold", {open: Boolean(kb)}, el("summary", {}, t("kb.settings")), settingsOf(fields)),
        place,
        el("div.actions", {}, codeButton(code), send),
    );
    // The browser shows what is wrong with a field only if the field is on the screen.
    form.addEventListener("invalid", ({target}) => target.closest("details")?.setAttribute("open", ""), true);
    form.addEventListener("submit", (event) => {
        event.preventDefault();
        attempt(place, send, async () => {
            const {name, parameters: given} = code();
            const answer = await call(name, given);
            dropDrafts(...Object.keys(fields).map(draftOf));
            fill(place, ...warningsOf(answer));
            onDone(answer.data);
        });
    });
    return [form];
}

function fieldsOf(kb, draftOf) {
    const fields = {
        name: el("input", {type: "text", required: true, maxlength: 40, value: kb?.name, autocomplete: "off"}),
        description: el("input", {type: "text", maxlength: 400, value: kb?.description, autocomplete: "off"}),
        indexing_technique: select(
            [
                ["high_quality", t("kb.high")],
                ["economy", t("kb.economy")],
            ],
            kb?.indexing_technique || "high_quality",
        ),
        search_method: select(methodChoices(), kb?.search_method || "semantic_search"),
        top_k: el("input", {type: "number", min: 1, max: 1024, required: true, value: kb?.top_k || 5}),
        score_threshold_enabled: el("input", {type: "checkbox", checked: kb?.score_threshold_enabled}),
        score_threshold: el("input", {
            type: "number",
            min: 0,
            max: 1,
            step: "any",
            required: true,
            value: kb?.similarity_threshold ?? 0.25,
        }),
        weights: el("input", {
            type: "number",
            min: 0,
            max: 1,
            step: "any",
            required: true,
            value: kb?.vector_similarity_weight ?? 0.6,
        }),
    };
    const before = Object.fromEntries(Object.entries(fields).map(([name, input]) => [name, valueOf(input)]));
    for (const [name, input] of Object.entries(fields)) keepDraft(input, draftOf(name));
    return {fields, before};
}

function settingsOf(fields) {
    return el(
        "div.stack",
        {},
        field(t("kb.technique"), fields.indexing_technique, t("kb.technique.hint")),
        field(t("kb.method"), fields.search_method, t("kb.method.hint")),
        field(t("kb.topK"), fields.top_k, t("kb.topK.hint")),
        field(t("kb.thresholdOn"), fields.score_threshold_enabled),
        field(t("kb.threshold"), fields.score_threshold, t("kb.threshold.hint")),
        weightOf(fields.search_method, field(t("kb.weight"), fields.weights, t("kb.weight.hint"))),
    );
}

/** What the form sends: the name, and what differs from the settings before. */
function changesOf({fields, before}) {
    const now = Object.entries(fields).map(([name, input]) => [name, valueOf(input)]);
    return Object.fromEntries(now.filter(([name, value]) => name === "name" || value !== before[name]));
}

function valueOf(input) {
    if (input.type === "checkbox") return input.checked;
    return input.type === "number" ? Number(input.value) : input.value;
}
