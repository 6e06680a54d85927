// The chat: conversations at the side, knowledge bases and model above, messages, and the field for the question.

import {call, data, isGone, wasAborted} from "./api.js";
import {AnswerView, questionView, stateOf} from "./chat-message.js";
import {Composer} from "./chat-composer.js";
import {Conversations} from "./chat-conversations.js";
import {Parameters} from "./chat-parameters.js";
import {NEAR_PX, Turn} from "./chat-turn.js";
import {button, el, fill, pause} from "./dom.js";
import {t} from "./i18n.js";
import {KbPicker} from "./kb-picker.js";
import {go, rename} from "./router.js";
import {userId} from "./session.js";
import {codeButton, errorBox, loading} from "./widgets.js";

const PAGE_SIZE = 30;
const WATCH_MS = 1500;
const ASKING = {status: "asking", content: "", thinking: "", references: [], forms: [], error: null};

export function showChat(view, {id, query, before}) {
    const chat = new Chat(id, query.kb ? query.kb.split(",") : []);
    view.classList.add("chat");
    view.append(chat.conversations.node, chat.node);
    if (before?.turns.length) chat.takeOver(before);
    else chat.load();
    return (inAnotherLanguage) => chat.close(inAnotherLanguage);
}

class Chat {
    constructor(conversationId, kbIds) {
        this.conversationId = conversationId;
        this.aborting = new AbortController();
        this.turns = []; // What is shown, each a question and the view of its answer.
        this.pages = {shown: 0, hasMore: false};
        this.conversations = new Conversations(() => this.conversationId);
        this.parameters = new Parameters();
        this.picker = new KbPicker({several: true, none: t("chat.noKb"), onChange: () => this.renameAddress()});
        if (kbIds.length) this.picker.choose(kbIds);
        this.messages = el("div.messages", {tabindex: 0, role: "region", "aria-label": t("chat.messages")});
        this.spoken = el("div.visually-hidden", {role: "log", "aria-live": "polite"});
        this.place = el("div");
        this.composer = new Composer({
            onSend: (question) => this.ask(question),
            onStop: () => this.stopTurn(),
            place: this.place,
        });
        // Meanwhile this conversation may have gone on in another tab.
        addEventListener("focus", () => this.refresh(), {signal: this.aborting.signal});
        const list = button(t("chat.conversations"), () => this.conversations.toggle(), {
            icon: "menu",
            kind: "phone-only",
        });
        this.node = el(
            "section.chat-main",
            {},
            el(
                "header.chat-head",
                {},
                el("h1.visually-hidden", {tabindex: -1}, t("nav.chat")),
                list,
                this.picker.node,
                this.parameters.model,
                this.parameters.button,
                codeButton(() => ({
                    name: "completionDb",
                    parameters: this.asked(this.composer.text || t("chat.example")),
                })),
                button(t("chat.new"), () => go(["chat"], {kb: this.picker.ids.join(",")}), {icon: "plus"}),
            ),
            this.messages,
            this.spoken,
            this.place,
            this.composer.node,
        );
    }

    /** @returns {Chat | undefined} what a Chat in another language takes over */
    close(inAnotherLanguage) {
        this.aborting.abort();
        this.conversations.close();
        if (!inAnotherLanguage) this.turn?.abort();
        this.scrolledTo = this.messages.scrollTop;
        return inAnotherLanguage ? this : undefined;
    }

    /** Show what another Chat has shown, in the language of now. An answer that arrives goes on here. */
    takeOver(before) {
        this.conversations.list.reload();
        this.picker.choose(before.picker.ids);
        const {turn} = before;
        before.turn = null;
        this.turns = before.turns.map(({question, answer}) => this.turnOf(question, answer.state));
        fill(this.messages, ...this.turns.flatMap(({nodes}) => nodes));
        this.pages = before.pages;
        this.offerEarlier();
        this.messages.scrollTop = before.scrolledTo;
        const running = before.turns.findIndex(({answer}) => answer === turn?.answer);
        if (turn) this.running = this.follow(turn, this.turns[running]);
    }

    /** The parameters of a turn. */
    asked(message) {
        const kbs = this.picker.ids;
        return {
            user_id: userId(),
            conversation_id: this.conversationId,
            ...(kbs.length > 1 ? {kb_ids: kbs} : {kb_id: kbs[0]}),
            message,
            ...this.parameters.values(),
            streaming: true,
            stream_mode: "events",
            think: "separate",
        };
    }

    async load() {
        this.conversations.list.reload();
        if (!this.conversationId) {
            fill(this.messages, this.welcome());
            this.composer.focus();
            return;
        }
        fill(this.messages, loading());
        try {
            const ids = {user_id: userId(), conversation_id: this.conversationId};
            const [conversation, page] = await Promise.all([
                data("conversationGet", ids, {signal: this.aborting.signal}),
                this.messagesOf(1),
            ]);
            document.title = `${conversation.name} · Route API`;
            if (!this.picker.ids.length) this.picker.choose(conversation.kb_ids);
            if (!this.turns.length) fill(this.messages);
            this.showPage(1, page);
            this.messages.scrollTop = this.messages.scrollHeight;
        } catch (error) {
            if (!wasAborted(error))
                fill(
                    this.messages,
                    errorBox(error, () => this.load()),
                );
        }
    }

    messagesOf(page) {
        const ids = {user_id: userId(), conversation_id: this.conversationId};
        return data(
            "conversationMessages",
            {...ids, page, page_size: PAGE_SIZE, order: "desc"},
            {signal: this.aborting.signal},
        );
    }

    /** Put a page of messages above those that are shown. */
    showPage(page, {messages, total}) {
        const height = this.messages.scrollHeight;
        // A question that was asked meanwhile has moved the pages by one.
        const earlier = messages.toReversed().filter((message) => this.placeOf(message) < 0);
        const turns = earlier.map((message) => this.turnOf(message.query, stateOf(message)));
        this.turns.unshift(...turns);
        this.pages = {shown: page, hasMore: page * PAGE_SIZE < total};
        this.messages.prepend(...turns.flatMap(({nodes}) => nodes));
        this.offerEarlier();
        this.messages.scrollTop += this.messages.scrollHeight - height;
    }

    /** Where a message is among the turns; -1 if it is not shown. */
    placeOf({message_id: id}) {
        return this.turns.findIndex(({answer}) => answer.state.message_id === id);
    }

    /** Show the messages that have come from elsewhere, such as another tab, since this page was loaded. */
    async refresh() {
        this.conversations.list.reload({quietly: true});
        if (!this.conversationId || !this.turns.length || this.turn) return;
        const {messages} = await this.messagesOf(1).catch(() => ({messages: []})); // An action that fails will say why.
        if (this.turn) return;
        const {scrollHeight, scrollTop, clientHeight} = this.messages;
        let at = this.turns.length;
        for (const message of messages) {
            const place = this.placeOf(message);
            if (place >= 0) {
                at = place;
                continue;
            }
            const turn = this.turnOf(message.query, stateOf(message));
            const next = this.turns[at]?.nodes[0] ?? null;
            turn.nodes.forEach((node) => this.messages.insertBefore(node, next));
            this.turns.splice(at, 0, turn);
        }
        if (scrollHeight - scrollTop - clientHeight < NEAR_PX) this.messages.scrollTop = this.messages.scrollHeight;
    }

    /** A button above the messages that shows the page before them. */
    offerEarlier() {
        if (!this.pages.hasMore) return;
        const page = this.pages.shown + 1;
        const made = button(
            t("chat.earlier"),
            async () => {
                try {
                    const next = await this.messagesOf(page);
                    made.remove();
                    this.showPage(page, next);
                } catch (error) {
                    if (!wasAborted(error)) made.before(errorBox(error));
                }
            },
            {kind: "quiet center"},
        );
        this.messages.prepend(made);
    }

    /** A question and its answer in a state. */
    turnOf(question, state) {
        const answer = new AnswerView({
            askAgain: () => this.ask(question),
            fillIn: (parameters) => this.fillIn({question, answer}, parameters),
        });
        answer.update(state);
        if (state.status === "pending") this.watch(state.message_id, answer);
        return {question, answer, nodes: [questionView(question), answer.node]};
    }

    /** Look until an answer has ended that somebody else waits for, or that this page began before it was reloaded. */
    async watch(messageId, answer) {
        const {signal} = this.aborting;
        while (!signal.aborted && answer.state.status === "pending") {
            await pause(WATCH_MS, signal).catch(() => null);
            try {
                const message = await data("messageGet", {user_id: userId(), message_id: messageId}, {signal});
                answer.update({...stateOf(message), error: null});
            } catch (error) {
                if (wasAborted(error)) return;
                answer.update({error});
                if (isGone(error)) return;
            }
        }
    }

    /** @returns whether the question is being asked */
    ask(message) {
        if (this.turn || !message.trim()) return false;
        let asked;
        try {
            asked = this.asked(message);
            fill(this.place);
        } catch (error) {
            fill(this.place, errorBox(error));
            return false;
        }
        if (!this.turns.length) fill(this.messages);
        const shown = this.turnOf(message, ASKING);
        this.turns.push(shown);
        this.messages.append(...shown.nodes);
        this.messages.scrollTop = this.messages.scrollHeight;
        this.begin(shown, "completionDb", asked);
        return true;
    }

    /**
     * Submit a form that an answer waits for; the rest of the answer arrives as that of a question does. If Dify does
     * not take the form, the answer waits as before, or has the end that it got without this form.
     *
     * @returns whether Dify has taken the form
     */
    async fillIn(shown, parameters) {
        while (this.turn) await this.running;
        const {status, content, thinking, references, forms} = shown.answer.state;
        shown.answer.update(ASKING);
        const turn = this.begin(shown, "conversationSubmitForm", {...parameters, streaming: true, stream_mode: "events"});
        await this.running;
        if (turn.ids) return true;
        const {answer} = turn; // Another one than before, if the language was changed.
        answer.update({status, content, thinking, references, forms});
        if (answer.state.error?.code === "form_closed") {
            const ids = {user_id: userId(), message_id: answer.state.message_id};
            answer.update(stateOf(await data("messageGet", ids, {signal: this.aborting.signal})));
        }
        return false;
    }

    /** Send a request that begins a turn or goes on with it, and show what arrives. */
    begin(shown, name, parameters) {
        const turn = new Turn();
        this.running = this.follow(turn, shown);
        turn.begin(call(name, parameters, turn.options()));
        return turn;
    }

    /** Show a turn until it has ended, or until another Chat has taken it over. */
    async follow(turn, {question, answer}) {
        this.turn = turn;
        this.composer.showRunning(true);
        await turn.showIn(answer, {
            spoken: this.spoken,
            scroller: this.messages,
            onIds: (ids) => this.begun(ids, question),
        });
        if (this.turn !== turn) return;
        this.turn = null;
        this.composer.showRunning(false);
        if (answer.state.error?.code === "conversation_busy") await this.refresh(); // It runs in another tab.
        else this.conversations.list.reload({quietly: true});
    }

    /** Stop the answer. Dify must have begun it before it can stop it, which a slow model makes late. */
    async stopTurn() {
        await this.turn?.stop();
        await this.running;
    }

    /** The server has stored the question: it is no draft any more, and a reload finds it. */
    begun({conversation_id: id}, message) {
        this.composer.forget(message);
        if (this.conversationId === id) return;
        this.conversationId = id;
        this.renameAddress();
        this.conversations.list.reload({quietly: true});
    }

    renameAddress() {
        rename(this.conversationId ? ["chat", this.conversationId] : ["chat"], {kb: this.picker.ids.join(",")});
    }

    welcome() {
        return el("div.empty", {}, el("h2", {}, t("chat.welcome")), el("p", {}, t("chat.welcome.text")));
    }
}
