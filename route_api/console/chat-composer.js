// The field for the question, with the buttons that send it and that stop its answer.

import {button, el} from "./dom.js";
import {t} from "./i18n.js";
import {draft, dropDrafts, keepDraft} from "./session.js";
import {attempt} from "./widgets.js";

const QUESTION = "chat.question";

export class Composer {
    /**
     * @param {object} given
     * @param {Function} given.onSend gets the question, and tells whether it is being asked
     * @param {Function} given.onStop stops the answer
     * @param {Element} given.place where the error is shown if that fails
     */
    constructor({onSend, onStop, place}) {
        const name = t("chat.placeholder");
        this.question = keepDraft(
            el("textarea", {rows: 1, required: true, placeholder: name, "aria-label": name}),
            QUESTION,
        );
        this.send = el("button.btn.primary", {type: "submit", "aria-label": t("chat.send")}, t("chat.send"));
        this.stop = button(t("chat.stop"), () => attempt(place, this.stop, () => this.whileStopping(onStop)), {
            icon: "stop",
            kind: "danger",
            hidden: true,
        });
        this.node = el("form.composer", {}, this.question, this.stop, this.send);
        this.node.addEventListener("submit", (event) => {
            event.preventDefault();
            if (onSend(this.question.value)) this.question.value = "";
        });
        this.question.addEventListener("keydown", (event) => {
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            this.node.requestSubmit();
        });
    }

    get text() {
        return this.question.value;
    }

    focus() {
        this.question.focus({preventScroll: true});
    }

    showRunning(isRunning) {
        this.stop.hidden = !isRunning;
        this.send.hidden = isRunning;
        if (!isRunning && this.node.isConnected) this.focus();
    }

    async whileStopping(stop) {
        const word = this.stop.querySelector("span");
        word.textContent = t("chat.stopping");
        try {
            await stop();
        } finally {
            word.textContent = t("chat.stop");
        }
    }

    /** The server has stored this question: it is no draft any more. */
    forget(question) {
        if (draft(QUESTION) === question) dropDrafts(QUESTION);
    }
}
