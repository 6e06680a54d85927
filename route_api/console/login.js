// The dialog in which a person says who they are: a service key, or a user's name and password.

import {call, data, needsLogin} from "./api.js";
import {button, el, fill} from "./dom.js";
import {t} from "./i18n.js";
import {credential, keepDraft, setCredential, setUserId, userId} from "./session.js";
import {Refusal, attempt, dialog, field} from "./widgets.js";

/** Show the dialog, unless it is open. @param {Function} done is called when somebody else uses the page now */
export function showLogin(done) {
    if (document.querySelector("dialog[open].login")) return;
    dialog(t("login.title"), (close) => content(close, done), {kind: "login"});
}

function content(close, done) {
    const change = (value) => {
        setCredential(value);
        close();
        done();
    };
    return [
        el("p.hint", {}, t("login.where")),
        credential() ? signedIn(change) : null,
        keyForm(change),
        passwordForm(change),
        credential()?.name ? null : userForm(close, done),
    ].filter(Boolean);
}

function signedIn(change) {
    const place = el("div");
    const leave = button(t("login.out"), () =>
        attempt(place, leave, async () => {
            if (credential().name) await call("userLogout");
            change(null);
        }),
    );
    const who = credential().name ? t("login.as", {name: credential().name}) : t("login.asKey");
    return el("section.card", {}, el("p", {}, who), place, el("div.actions", {}, leave));
}

function keyForm(change) {
    const key = el("input", {type: "password", autocomplete: "off", required: true});
    const place = el("div");
    return form(
        t("login.key"),
        t("login.use"),
        place,
        async () => {
            // A header of HTTP has room for these characters only.
            if (!/^[\x21-\x7e]+$/.test(key.value.trim())) throw new Refusal(t("login.key.wrong"));
            const before = credential();
            setCredential({token: key.value.trim(), name: ""});
            try {
                await data("kbList", {page_size: 1});
            } catch (error) {
                if (needsLogin(error)) {
                    setCredential(before);
                    throw error;
                }
            }
            change(credential());
        },
        field(t("login.key.field"), key, t("login.key.hint")),
    );
}

function passwordForm(change) {
    const name = keepDraft(el("input", {type: "text", autocomplete: "username", required: true}), "login.name");
    const password = el("input", {type: "password", autocomplete: "current-password", required: true});
    const place = el("div");
    return form(
        t("login.user"),
        t("login.open"),
        place,
        async () => {
            const {token, user} = await data("userLogin", {username: name.value, password: password.value});
            change({token, name: user.nickname || user.username});
        },
        field(t("login.name"), name),
        field(t("login.password"), password),
    );
}

function userForm(close, done) {
    const name = el("input", {type: "text", value: userId(), maxlength: 32, required: true});
    return form(
        t("login.speaksFor"),
        t("login.use"),
        el("div"),
        async () => {
            setUserId(name.value.trim());
            close();
            done();
        },
        field(t("login.userId"), name, t("login.userId.hint")),
    );
}

function form(title, word, place, action, ...fields) {
    const send = el("button.btn", {type: "submit"}, word);
    const made = el("form.card", {}, el("h3", {}, title), ...fields, place, el("div.actions", {}, send));
    made.addEventListener("submit", (event) => {
        event.preventDefault();
        attempt(fill(place), send, action);
    });
    return made;
}
