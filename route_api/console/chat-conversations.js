// The conversations at the side: continue, rename, delete.

import {call, data} from "./api.js";
import {button, el} from "./dom.js";
import {dateTime, number, t} from "./i18n.js";
import {go, to} from "./router.js";
import {userId} from "./session.js";
import {attempt, codeButton, confirmDeletion, dialog, field} from "./widgets.js";
import {VirtualList} from "./virtual-list.js";

export class Conversations {
    /** @param {Function} current returns the id of the conversation that is shown */
    constructor(current) {
        this.current = current;
        const count = el("span.muted.small", {role: "status"});
        const parameters = (page = 1) => ({user_id: userId(), page, page_size: 100});
        this.list = new VirtualList({
            label: t("chat.conversations"),
            rowHeight: 54,
            load: async (page, signal) => {
                const {conversations, total} = await data("conversationList", parameters(page), {signal});
                return {rows: conversations, total};
            },
            row: (conversation) => this.row(conversation),
            whenEmpty: () => el("p.muted.pad", {}, t("chat.noConversations")),
            onTotal: (total) => (count.textContent = number(total)),
        });
        this.node = el(
            "aside.conversations",
            {"aria-label": t("chat.conversations")},
            el(
                "header",
                {},
                el("h2", {}, t("chat.conversations")),
                count,
                el("span.grow"),
                codeButton(() => ({name: "conversationList", parameters: parameters()})),
                button("", () => this.toggle(), {icon: "close", kind: "quiet phone-only", label: t("close")}),
            ),
            this.list.node,
        );
    }

    /** On a phone the list covers the messages, and is hidden at first. */
    toggle() {
        this.node.classList.toggle("is-open");
    }

    close() {
        this.list.close();
    }

    row(conversation) {
        const isCurrent = conversation.conversation_id === this.current();
        return [
            el(
                "a.grow",
                {href: to(["chat", conversation.conversation_id]), "aria-current": isCurrent ? "true" : null},
                el("span.row-title.ellipsis", {}, conversation.name),
                el("span.row-sub", {}, dateTime(conversation.update_time)),
            ),
            button("", () => this.showActions(conversation), {
                icon: "more",
                kind: "quiet",
                label: t("chat.actions", {name: conversation.name}),
            }),
        ];
    }

    showActions(conversation) {
        const ids = {user_id: userId(), conversation_id: conversation.conversation_id};
        dialog(t("chat.rename"), (close) => {
            const name = el("input", {type: "text", maxlength: 50, required: true, value: conversation.name});
            const place = el("div");
            const save = el("button.btn.primary", {type: "submit"}, t("save"));
            const renaming = () => ({name: "conversationRename", parameters: {...ids, name: name.value}});
            const form = el(
                "form.stack",
                {},
                field(t("chat.name"), name),
                place,
                el(
                    "div.actions",
                    {},
                    codeButton(() => [renaming(), {name: "conversationRm", parameters: ids}]),
                    button(
                        t("delete"),
                        () => {
                            close();
                            this.askToDelete(conversation, ids);
                        },
                        {icon: "trash", kind: "danger"},
                    ),
                    save,
                ),
            );
            form.addEventListener("submit", async (event) => {
                event.preventDefault();
                const done = await attempt(place, save, () => call("conversationRename", renaming().parameters));
                if (!done) return;
                this.list.replace(
                    ({id}) => id === conversation.id,
                    (row) => ({...row, name: name.value}),
                );
                close();
            });
            return [form];
        });
    }

    askToDelete(conversation, ids) {
        const code = {name: "conversationRm", parameters: ids};
        confirmDeletion(t("chat.delete.title"), t("chat.delete.text", {name: conversation.name}), {
            code,
            action: async () => {
                await call(code.name, code.parameters);
                if (conversation.conversation_id === this.current()) go(["chat"]);
                else await this.list.reload({quietly: true});
            },
        });
    }
}
