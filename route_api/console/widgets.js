// Parts that several views use: fields, dialogs, errors, badges, and the buttons that show code.

import {wasAborted, needsLogin} from "./api.js";
import {button, el, fill, icon, newId} from "./dom.js";
import {t} from "./i18n.js";
import {asCurl, asJavaScript} from "./snippets.js";

/** Why the page does not do something, in words: no fault of its code. */
export class Refusal extends Error {}

/** A labelled input. `hint` is a sentence that explains it. */
export function field(label, input, hint = "") {
    input.id ||= newId();
    const explained = hint ? el("p.hint", {id: newId()}, hint) : null;
    if (explained) input.setAttribute("aria-describedby", explained.id);
    const isBox = input.type === "checkbox";
    const named = el("label", {for: input.id}, label);
    return el(`div.field${isBox ? ".box" : ""}`, {}, ...(isBox ? [input, named] : [named, input]), explained);
}

/** A select. @param {Array<[string, string]>} choices value and text */
export function select(choices, value = "", properties = {}) {
    const made = el("select", properties, ...choices.map(([key, text]) => el("option", {value: key}, text)));
    made.value = value;
    return made;
}

/** A coloured word: `ok`, `busy`, `bad`, `warn` or `off`. */
export function badge(kind, text) {
    return el(`span.badge.${kind}`, {}, text);
}

/** A bar from 0 to 1. */
export function progressBar(value, label) {
    const bar = el("progress", {max: 1, "aria-label": label});
    if (value !== null) bar.value = value;
    return bar;
}

/** A sentence in the place of something that is loading. */
export function loading() {
    return el("p.loading", {role: "status"}, t("loading"));
}

/**
 * An error, where it happened: what the server said, the error's name, and the id of its request.
 *
 * @param {Error} error
 * @param {Function} [retry] what the button "Try again" does
 */
export function errorBox(error, retry) {
    if (!error.code && !(error instanceof Refusal)) console.error(error);
    const said = error.code === "connection_failed" ? t("error.connection") : error.message;
    const details = [
        error.code ?? null,
        error.requestId ? t("error.request", {id: error.requestId}) : null,
        error.retryAfter ? t("error.retryAfter", {seconds: error.retryAfter}) : null,
    ].filter(Boolean);
    return el(
        "div.error",
        {role: "alert"},
        icon("warning"),
        el("div.grow", {}, el("p", {}, said), details.length ? el("p.small", {}, details.join(" · ")) : null),
        needsLogin(error) ? button(t("login.open"), () => dispatchEvent(new Event("login-needed"))) : null,
        retry ? button(t("retry"), retry, {icon: "retry"}) : null,
    );
}

/** What the server did not use of a request. */
export function warningsOf(answer) {
    return (answer.warnings ?? []).map((text) => el("p.notice", {role: "status"}, text));
}

/**
 * Do something that may fail, and show its failure in a node. An action that runs is not begun a second time.
 *
 * @param {Element} place where the error is shown; an earlier error there goes away
 * @param {HTMLButtonElement | null} pressed is disabled meanwhile
 * @returns whether it succeeded
 */
export async function attempt(place, pressed, action) {
    if (pressed?.getAttribute("aria-busy") === "true") return false;
    pressed?.setAttribute("aria-busy", "true");
    fill(place);
    try {
        await action();
        return true;
    } catch (error) {
        if (!wasAborted(error)) fill(place, errorBox(error));
        return false;
    } finally {
        pressed?.removeAttribute("aria-busy");
    }
}

/** Show a dialog until it is closed. `content` gets a function that closes it. */
export function dialog(title, content, {kind = ""} = {}) {
    const heading = el("h2", {id: newId()}, title);
    const shown = el(`dialog${kind ? `.${kind}` : ""}`, {"aria-labelledby": heading.id});
    const close = () => shown.close();
    shown.append(
        el("header", {}, heading, button("", close, {icon: "close", label: t("close")})),
        el("div.dialog-body", {}, content(close)),
    );
    shown.addEventListener("close", () => shown.remove());
    shown.addEventListener("click", (event) => event.target === shown && close());
    document.body.append(shown);
    shown.showModal(); // It puts the focus on its first button, which closes it.
    shown.querySelector(".dialog-body :is(input, select, textarea):not([hidden])")?.focus();
    return shown;
}

/**
 * Ask before something is done that cannot be undone.
 *
 * @param {object} asked
 * @param {string} [asked.typeBack] a name that must be typed first
 * @param {Function} asked.action does it; the dialog stays open, and shows the error, if it fails
 * @param {object} asked.code the call, to show as code
 */
export function confirmDeletion(title, text, {typeBack = "", action, code}) {
    dialog(title, (close) => {
        const place = el("div");
        const typed = el("input", {type: "text", autocomplete: "off"});
        const go = button(t("delete"), () => attempt(place, go, action).then((done) => done && close()), {
            kind: "danger",
            icon: "trash",
            disabled: Boolean(typeBack),
        });
        typed.addEventListener("input", () => (go.disabled = typed.value.trim() !== typeBack.trim()));
        return [
            el("p", {}, text),
            typeBack ? field(t("delete.typeBack", {name: typeBack}), typed) : null,
            place,
            el(
                "div.actions",
                {},
                button(t("cancel"), close),
                go,
                codeButton(() => code),
            ),
        ].filter(Boolean);
    });
}

/**
 * A button that shows one action, or several, as curl and as JavaScript.
 *
 * @param {Function} calls returns `{name, parameters}`, or a list of them
 */
export function codeButton(calls, label = t("code.show")) {
    return button("", () => dialog(t("code.title"), () => snippetsOf(calls), {kind: "wide"}), {
        icon: "code",
        label,
        kind: "quiet",
    });
}

/** The snippets of the calls; an error in their place, if what was typed makes no call. */
function snippetsOf(calls) {
    try {
        return [calls()]
            .flat()
            .flatMap((call) => [
                snippet(call.name, "curl", asCurl(call)),
                snippet(call.name, "JavaScript", asJavaScript(call)),
            ]);
    } catch (error) {
        return [errorBox(error)];
    }
}

function snippet(name, language, text) {
    const shown = el("pre", {tabindex: 0, "aria-label": `${name}, ${language}`}, el("code", {}, text));
    return el(
        "section.snippet",
        {},
        el(
            "header",
            {},
            el("h3", {}, `${name} · ${language}`),
            copyButton(() => text),
        ),
        shown,
    );
}

/** A button that copies a text. */
export function copyButton(text, label = t("copy")) {
    const made = button(
        "",
        async () => {
            await copyText(text());
            made.classList.add("done");
            announce(t("copied"));
            setTimeout(() => made.classList.remove("done"), 1200);
        },
        {icon: "copy", label, kind: "quiet"},
    );
    return made;
}

/** Copy a text. Browsers have a clipboard only on https and on this machine itself; elsewhere the old command works. */
async function copyText(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const field = el("textarea.visually-hidden", {}, text);
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    return undefined;
}

/** Tell a screen reader something that is not on the screen. */
export function announce(text) {
    const region = document.getElementById("announcer");
    region.textContent = "";
    requestAnimationFrame(() => (region.textContent = text));
}

/** The head of a view: its title, what belongs beside it, and the address that leads back. */
export function pageHead(title, {actions = [], back = null, sub = null} = {}) {
    const heading = el("h1", {tabindex: -1}, title);
    const trail = back ? el("a.back", {href: back.href}, back.text) : null;
    return el("header.page-head", {}, el("div.grow", {}, trail, heading, sub), el("div.actions", {}, ...actions));
}

/** Put another head in the place of a view's head. The focus stays on its title, which is the page's title too. */
export function changeHead(place, title, given) {
    const hasFocus = place.contains(document.activeElement);
    fill(place, pageHead(title, given));
    document.title = `${title} · Route API`;
    if (hasFocus) place.querySelector("h1").focus({preventScroll: true});
}

/** What stands in the place of an empty list. */
export function empty(title, text, ...actions) {
    return el("div.empty", {}, el("h2", {}, title), el("p", {}, text), el("div.actions", {}, ...actions));
}
