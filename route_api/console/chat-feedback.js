// Thumbs for an answer, with a reason.

import {call} from "./api.js";
import {button, el, fill} from "./dom.js";
import {t} from "./i18n.js";
import {dropDrafts, keepDraft, userId} from "./session.js";
import {attempt, codeButton, field} from "./widgets.js";

const UP = 100;
const DOWN = 0;
const LIKED_FROM = 60;

/** The two thumbs. A thumb that was pressed can be pressed again to withdraw it. */
export function feedbackOf(view) {
    const {feedback_score: score} = view.state;
    const isGiven = score !== null && score !== undefined;
    const thumb = (picture, value, isPressed, label) =>
        button(
            "",
            () => {
                if (isPressed) send(view, {score: null});
                else showForm(view, value);
            },
            {icon: picture, kind: `quiet${isPressed ? " pressed" : ""}`, label, "aria-pressed": String(isPressed)},
        );
    return [
        thumb("thumbUp", UP, isGiven && score >= LIKED_FROM, t("chat.good")),
        thumb("thumbDown", DOWN, isGiven && score < LIKED_FROM, t("chat.bad")),
    ];
}

function showForm(view, score) {
    const name = `feedback.${view.state.message_id}`;
    const reason = keepDraft(el("input", {type: "text", maxlength: 255}), name);
    const place = el("div");
    const submit = el("button.btn.primary.small", {type: "submit"}, t("chat.feedback.send"));
    const given = () => ({score, reason: reason.value.trim() || undefined});
    const form = el(
        "form.card.stack",
        {},
        field(t(score === UP ? "chat.feedback.good" : "chat.feedback.bad"), reason),
        place,
        el(
            "div.actions",
            {},
            codeButton(() => ({name: "messageFeedback", parameters: parametersOf(view, given())})),
            button(t("cancel"), () => fill(view.place), {kind: "small"}),
            submit,
        ),
    );
    form.addEventListener("submit", (event) => {
        event.preventDefault();
        attempt(place, submit, () => rate(view, given())).then((done) => {
            if (!done) return;
            dropDrafts(name);
            fill(view.place, el("p.notice.good", {role: "status"}, t("chat.feedback.thanks")));
        });
    });
    fill(view.place, form);
    form.scrollIntoView({block: "nearest"});
    reason.focus({preventScroll: true});
}

function send(view, given) {
    return attempt(view.place, null, () => rate(view, given));
}

async function rate(view, given) {
    await call("messageFeedback", parametersOf(view, given));
    view.update({feedback_score: given.score, feedback_reason: given.reason});
}

function parametersOf(view, given) {
    return {user_id: userId(), message_id: view.state.message_id, ...given};
}
