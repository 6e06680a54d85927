// One question while its answer arrives: reads the events, and can be stopped.

import {call, wasAborted} from "./api.js";
import {el} from "./dom.js";
import {userId} from "./session.js";

/** Whoever is so near the end of the messages reads what arrives. */
export const NEAR_PX = 160;
const SENTENCE = /^[\s\S]*?[。！？.!?\n]+/;

export class Turn {
    constructor() {
        this.aborting = new AbortController();
        this.unspoken = "";
        this.ids = null;
        this.ended = new Promise((resolve) => (this.end = resolve));
    }

    /** The options of the request. */
    options() {
        return {signal: this.aborting.signal};
    }

    /**
     * Show the answer in a view, from now on. Its state tells what has arrived before.
     *
     * @param {AnswerView} answer
     * @param {object} given
     * @param {Element} given.spoken gets each sentence once it is whole, for screen readers
     * @param {Element} given.scroller follows the text, as long as its reader looks at its end
     * @param {Function} given.onIds is told the ids of the conversation and the message
     * @returns {Promise} the end of the turn
     */
    showIn(answer, {spoken, scroller, onIds}) {
        Object.assign(this, {answer, spoken, scroller, onIds});
        answer.whileDrawing = (draw) => this.follow(draw);
        return this.ended;
    }

    /** Read the events to their end. The view is there before the first one. */
    async begin(events) {
        this.spoken.replaceChildren();
        try {
            for await (const event of events) this.take(event);
        } catch (error) {
            if (wasAborted(error)) this.answer.update({status: "stopped"});
            else this.answer.update({status: "failed", error, ...this.idsIn(error.data)});
        }
        this.speak(true);
        this.end();
    }

    /** The events of `stream_mode` `events`; an `error` is thrown by the client. */
    take(event) {
        const {content, thinking} = this.answer.state;
        if (event.type === "sources") {
            this.idsIn(event);
            this.answer.update({references: event.references});
        } else if (event.type === "thinking") {
            this.answer.update({status: "running", thinking: thinking + event.thinking});
        } else if (event.type === "delta") {
            this.unspoken += event.answer;
            this.speak(false);
            this.answer.update({status: "running", content: content + event.answer});
        } else if (event.type === "replacement") {
            this.answer.update({content: event.answer, thinking: event.thinking ?? ""});
        } else if (event.type === "end") {
            this.answer.update(event.data);
        }
    }

    idsIn(given) {
        if (!given?.message_id || this.ids) return {};
        this.ids = {conversation_id: given.conversation_id, message_id: given.message_id};
        this.answer.update(this.ids);
        this.onIds(this.ids);
        return this.ids;
    }

    follow(draw) {
        const {scrollHeight, scrollTop, clientHeight} = this.scroller;
        draw();
        if (scrollHeight - scrollTop - clientHeight < NEAR_PX) this.scroller.scrollTop = this.scroller.scrollHeight;
    }

    /** Give whole sentences to screen readers; at the end, the rest. */
    speak(isEnd) {
        for (;;) {
            const sentence = SENTENCE.exec(this.unspoken)?.[0] ?? (isEnd ? this.unspoken : "");
            if (!sentence) return;
            this.unspoken = this.unspoken.slice(sentence.length);
            this.spoken.append(el("p", {}, sentence));
        }
    }

    /** Ask the server to stop the model. The stream then ends by itself, with the part that is stored. */
    async stop() {
        if (this.ids) await call("conversationStop", {user_id: userId(), ...this.ids});
        else this.abort();
    }

    /** Leave. The server notices it and stops the model. */
    abort() {
        this.aborting.abort();
    }
}
