// The forms of a paused answer: a chatflow of Dify goes on when somebody has filled one in.

import {button, el} from "./dom.js";
import {t} from "./i18n.js";
import {dropDrafts, keepDraft, userId} from "./session.js";
import {attempt, codeButton, field, select} from "./widgets.js";

const PLACE = /\{\{#\$output\.([^#]+)#\}\}/;

/** @param {AnswerView} view shows the rest of the answer */
export function formsOf(forms, view) {
    return forms.map((form) => formOf(form, view));
}

function formOf(form, view) {
    const fields = new Map(form.inputs.map((input) => [input.name, fieldOf(form, input)]));
    const place = el("div");
    const parameters = (action) => ({
        user_id: userId(),
        message_id: view.state.message_id,
        form_id: form.form_id,
        action,
        inputs: Object.fromEntries([...fields].map(([name, input]) => [name, input.value])),
        think: "separate",
    });
    const submit = async (action) => {
        if (![...fields.values()].every((input) => input.reportValidity())) return;
        if (!(await view.fillIn(parameters(action)))) return;
        dropDrafts(...[...fields.keys()].map((name) => draftName(form, name)));
    };
    const actions = form.actions.map(({id, title}) => {
        const made = button(title, () => attempt(place, made, () => submit(id)));
        return made;
    });
    return el(
        "section.card.stack",
        {"aria-label": form.title},
        el("h3", {}, form.title || t("chat.form")),
        el("div.text", {}, ...contentOf(form, fields)),
        place,
        el(
            "div.actions",
            {},
            codeButton(() => ({name: "conversationSubmitForm", parameters: parameters(form.actions[0]?.id)})),
            ...actions,
        ),
    );
}

function draftName(form, name) {
    return `form.${form.form_id}.${name}`;
}

/** A choice without a default must be made: the gateway refuses a value that is none of the options. */
function fieldOf(form, {name, type, default: value = "", options = []}) {
    const choices = [...(value ? [] : [""]), ...options].map((option) => [option, option || t("chat.form.choose")]);
    const input = options.length
        ? select(choices, value, {"aria-label": name, required: true})
        : el(type === "paragraph" ? "textarea" : "input", {"aria-label": name});
    if (!options.length && value) input.value = value;
    return keepDraft(input, draftName(form, name));
}

/** The text of a form with its fields in their places; a field without a place comes after the text. */
function contentOf(form, fields) {
    const placed = new Set();
    const pieces = form.content.split(PLACE).map((piece, position) => {
        if (position % 2 === 0) return piece;
        placed.add(piece);
        return fields.get(piece) ?? "";
    });
    const rest = [...fields].filter(([name]) => !placed.has(name)).map(([name, input]) => field(name, input));
    return [...pieces, ...rest];
}
