// The page's texts in the reader's language.

import {storedLanguage, storeLanguage} from "./session.js";
import {EN} from "./texts-en.js";
import {ZH} from "./texts-zh.js";

const CATALOGUES = {en: EN, zh: ZH};
const LOCALES = {en: "en-GB", zh: "zh-CN"};

/** `zh` or `en`: what the reader chose, else the first of the browser's languages that we have, else English. */
export function language() {
    const chosen = storedLanguage();
    if (chosen in CATALOGUES) return chosen;
    return navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => tag in CATALOGUES) ?? "en";
}

export function setLanguage(value) {
    storeLanguage(value);
}

/** The header Accept-Language, so that the server's messages come in the page's language. */
export function acceptLanguage() {
    return LOCALES[language()];
}

/** The text of this name, with values in the place of `{name}`. */
export function t(name, values = {}) {
    const text = CATALOGUES[language()][name];
    if (text === undefined) throw new Error(`There is no text ${name} in ${language()}.`);
    return text.replace(/\{(\w+)\}/g, (_, key) => String(values[key]));
}

export function number(value, options = {}) {
    return new Intl.NumberFormat(LOCALES[language()], options).format(value);
}

/** A time in seconds since 1970, as date and time of the reader's zone. */
export function dateTime(seconds) {
    if (!seconds) return "–";
    const format = {dateStyle: "medium", timeStyle: "short"};
    return new Intl.DateTimeFormat(LOCALES[language()], format).format(seconds * 1000);
}

/** A size in bytes, in the unit that suits it. */
export function size(bytes) {
    const units = ["B", "KB", "MB", "GB"];
    const power = bytes ? Math.min(units.length - 1, Math.floor(Math.log(bytes) / Math.log(1024))) : 0;
    return `${number(bytes / 1024 ** power, {maximumFractionDigits: power ? 1 : 0})} ${units[power]}`;
}
