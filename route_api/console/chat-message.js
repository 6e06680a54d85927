// A question and its answer: the reasoning folded away, the sources as chips, and what can be done with it.

import {data} from "./api.js";
import {feedbackOf} from "./chat-feedback.js";
import {formsOf} from "./chat-forms.js";
import {button, el, fill, icon} from "./dom.js";
import {number, t} from "./i18n.js";
import {to} from "./router.js";
import {userId} from "./session.js";
import {attempt, badge, codeButton, copyButton, dialog, errorBox} from "./widgets.js";

const KINDS = {done: "ok", stopped: "warn", paused: "busy", failed: "bad", pending: "busy"};
const ENDED_EARLY = ["stopped", "failed"];
/** The time between two drawings of an answer that arrives. Each lays out the whole text: the longer, the rarer. */
const drawEveryMs = (content) => 100 + content.length / 100;
const CITATION = /\[(\d{1,2})\]/;

export function questionView(text) {
    return el("article.message.question", {"aria-label": t("chat.you")}, el("p.text", {}, text));
}

/** Shows an answer, and shows it anew after each `update`; while it arrives, a few times a second. */
export class AnswerView {
    /**
     * @param {object} given
     * @param {Function} given.askAgain sends the same question once more
     * @param {Function} given.fillIn submits a form that the answer waits for, and tells whether Dify has taken it
     */
    constructor({askAgain, fillIn}) {
        Object.assign(this, {askAgain, fillIn});
        this.state = {};
        this.drawn = {};
        this.drawing = 0;
        this.whileDrawing = (draw) => draw();
        this.thinking = el("p.text");
        this.thinkingWord = el("summary", {}, t("chat.thinking"));
        this.thoughts = el("details.thinking", {hidden: true}, this.thinkingWord, this.thinking);
        this.text = el("p.text.answer-text");
        this.sources = el("div.chips");
        this.place = el("div");
        this.forms = el("div");
        this.foot = el("footer.message-foot");
        this.node = el(
            "article.message.answer",
            {"aria-label": t("chat.answer")},
            this.thoughts,
            this.text,
            this.forms,
            this.sources,
            this.place,
            this.foot,
        );
    }

    update(changes) {
        this.state = {...this.state, ...changes};
        const draw = () => this.whileDrawing(() => this.draw());
        if (!this.isOpen()) draw();
        else if (!this.drawing) this.drawing = setTimeout(draw, drawEveryMs(this.state.content));
    }

    isOpen() {
        return this.state.status === "asking" || this.state.status === "running";
    }

    /** Draw what has changed since the last drawing. */
    draw() {
        clearTimeout(this.drawing);
        this.drawing = 0;
        const before = this.drawn;
        this.drawn = this.state;
        const {content = "", thinking = "", references = [], status, forms = [], error = null} = this.state;
        this.thoughts.hidden = !thinking;
        showMore(this.thinking, before.thinking ?? "", thinking);
        const isOpen = this.isOpen();
        this.node.setAttribute("aria-busy", String(isOpen));
        this.thinkingWord.textContent = isOpen && !content ? t("chat.thinkingNow") : t("chat.thinking");
        if (isOpen && content) showMore(this.text, before.content ?? "", content);
        else if (!isOpen) fill(this.text, ...withCitations(content, references));
        else if (before.content !== "") fill(this.text, el("span.typing", {role: "status"}, t("chat.waiting")));
        if (references !== before.references) fill(this.sources, ...references.map((source, at) => chip(source, at)));
        if (error !== (before.error ?? null)) fill(this.place, error && errorBox(error));
        if (status !== before.status || this.state.feedback_score !== before.feedback_score)
            fill(this.foot, ...this.footOf());
        if (forms !== before.forms) fill(this.forms, formsOf(forms, this));
    }

    footOf() {
        const {status, reason, message_id: id} = this.state;
        if (this.isOpen()) return [];
        const shown = [badge(KINDS[status] ?? "off", t(`chat.status.${status}`))];
        if (status === "stopped" && reason)
            shown.push(el("span.muted.small", {}, t(`chat.reason.${reason === "stop_requested" ? "asked" : "left"}`)));
        if (status === "pending") return shown;
        if (ENDED_EARLY.includes(status))
            shown.push(button(t("chat.again"), this.askAgain, {icon: "retry", kind: "small"}));
        else shown.push(button("", this.askAgain, {icon: "retry", kind: "quiet", label: t("chat.again")}));
        shown.push(copyButton(() => this.state.content));
        if (id) {
            shown.push(...feedbackOf(this), this.suggestions());
            shown.push(codeButton(() => ({name: "messageGet", parameters: {user_id: userId(), message_id: id}})));
        }
        return shown;
    }

    /** A button that asks the model for questions that could follow. */
    suggestions() {
        const made = button(
            t("chat.suggest"),
            () =>
                attempt(this.place, made, async () => {
                    const found = await data("messageSuggested", {
                        user_id: userId(),
                        message_id: this.state.message_id,
                    });
                    const fillIn = (text) => {
                        const field = document.querySelector(".composer textarea");
                        field.value = text;
                        field.dispatchEvent(new Event("input"));
                        field.focus();
                    };
                    const chips = found.map((text) => button(text, () => fillIn(text), {kind: "small"}));
                    fill(
                        this.place,
                        found.length ? el("div.chips", {}, ...chips) : el("p.muted.small", {}, t("chat.suggest.none")),
                    );
                }),
            {kind: "quiet small"},
        );
        return made;
    }
}

/** Add to the text that is there, so that a selection in it stays. */
function showMore(node, before, text) {
    if (before && text.startsWith(before)) node.append(text.slice(before.length));
    else node.textContent = text;
}

/** A text in which `[1]` opens the first source. */
function withCitations(text, references) {
    return text.split(CITATION).map((piece, position) => {
        if (position % 2 === 0) return piece;
        const source = references[Number(piece) - 1];
        return source
            ? button(piece, () => openSource(source, Number(piece)), {
                  kind: "cite",
                  label: t("chat.source", {number: piece}),
              })
            : `[${piece}]`;
    });
}

function chip(source, at) {
    const word = el("span.visually-hidden", {}, t("chat.source", {number: ""}));
    return el(
        "button.chip",
        {type: "button", onclick: () => openSource(source, at + 1)},
        word,
        el("span.chip-number", {}, number(at + 1)),
        el("span.ellipsis", {}, source.doc_name),
    );
}

/** The passage, and the way to its place in the document. */
function openSource(source, at) {
    dialog(
        t("chat.source", {number: number(at)}),
        () =>
            [
                el("p", {}, icon("file"), " ", el("strong", {}, source.doc_name)),
                source.score === null || source.score === undefined
                    ? null
                    : el("p.muted", {}, t("chat.score", {score: number(source.score, {maximumFractionDigits: 3})})),
                el("blockquote.text", {}, source.content),
                el(
                    "div.actions",
                    {},
                    copyButton(() => source.content),
                    linkTo(source),
                ),
            ].filter(Boolean),
        {kind: "drawer"},
    );
}

function linkTo({kb_id: kb, doc_id: doc, chunk_id: chunk}) {
    if (!kb || !doc) return el("span.muted", {}, t("chat.source.ofApp"));
    return el("a.btn.primary", {href: to(["kbs", kb, "docs", doc], {chunk})}, t("chat.source.open"));
}

/** What an AnswerView shows of a stored message. */
export function stateOf(message) {
    return {...message, references: message.meta_data.references, forms: message.meta_data.forms};
}
