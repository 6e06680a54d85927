// The parameters of a turn: the model above the messages, the others in a drawer.

import {data, wasAborted} from "./api.js";
import {button, el, fill} from "./dom.js";
import {number, t} from "./i18n.js";
import {draft, dropDrafts, keepDraft} from "./session.js";
import {Refusal, dialog, errorBox, field, select} from "./widgets.js";

const NUMBERS = ["temperature", "max_tokens", "history_len"];
const TEXTS = ["prompt_name", "inputs"];
const NAMES = [...TEXTS, ...NUMBERS];
const draftName = (name) => `chat.${name}`;

export class Parameters {
    constructor() {
        this.model = select([["", t("chat.defaultModel")]], "", {"aria-label": t("chat.model")});
        this.button = button(t("chat.parameters"), () => this.open(), {icon: "sliders"});
        this.showCount();
        this.loadModels();
    }

    /** What the turn sends, beside the question. @throws {Error} the variables are no JSON */
    values() {
        const given = Object.fromEntries(NAMES.map((name) => [name, draft(draftName(name)) || undefined]));
        for (const name of NUMBERS) if (given[name]) given[name] = Number(given[name]);
        if (given.inputs) given.inputs = asObject(given.inputs);
        return {model_name: this.model.value || undefined, ...given};
    }

    async loadModels() {
        try {
            const providers = await data("llmMyLlms", {model_type: "llm"});
            const names = providers.flatMap(({models}) => models.map(({model}) => model));
            this.model.append(...names.map((name) => el("option", {value: name}, name)));
            keepDraft(this.model, draftName("model_name"));
        } catch (error) {
            if (!wasAborted(error)) this.model.title = error.message;
        }
    }

    showCount() {
        const count = NAMES.filter((name) => draft(draftName(name))).length;
        const text = count ? `${t("chat.parameters")} (${number(count)})` : t("chat.parameters");
        this.button.querySelector("span").textContent = text;
    }

    open() {
        const shown = dialog(
            t("chat.parameters"),
            (close) => {
                const prompt = select([["", t("chat.defaultPrompt")]]);
                const fields = {
                    prompt_name: prompt,
                    temperature: el("input", {type: "number", min: 0, max: 2, step: 0.1}),
                    max_tokens: el("input", {type: "number", min: 1, max: 1000000}),
                    history_len: el("input", {type: "number", min: -1, max: 1000}),
                    inputs: el("textarea", {rows: 3, spellcheck: "false", placeholder: '{"city": "姑苏"}'}),
                };
                const place = el("div");
                for (const name of NAMES.slice(1)) keepDraft(fields[name], draftName(name));
                fields.inputs.addEventListener("input", () => checkJson(fields.inputs));
                this.loadPrompts(prompt, place);
                return [
                    place,
                    ...NAMES.map((name) => field(t(`chat.${name}`), fields[name], t(`chat.${name}.hint`))),
                    el(
                        "div.actions",
                        {},
                        button(t("chat.reset"), () => {
                            dropDrafts(...NAMES.map(draftName));
                            close();
                        }),
                        button(t("done"), close, {kind: "primary"}),
                    ),
                ];
            },
            {kind: "drawer"},
        );
        shown.addEventListener("close", () => this.showCount());
    }

    async loadPrompts(prompt, place) {
        try {
            const templates = await data("promptList");
            prompt.append(
                ...templates.map(({name, description}) => el("option", {value: name}, `${name}: ${description}`)),
            );
            keepDraft(prompt, draftName("prompt_name"));
        } catch (error) {
            fill(place, errorBox(error));
        }
    }
}

function asObject(text) {
    try {
        return JSON.parse(text);
    } catch {
        throw new Refusal(t("chat.inputs.wrong"));
    }
}

function checkJson(input) {
    try {
        if (input.value) asObject(input.value);
        input.setCustomValidity("");
    } catch (error) {
        input.setCustomValidity(error.message);
    }
    input.reportValidity();
}
