// What the page remembers: the credential until the tab is closed, drafts until they are sent, the language for good.

const CREDENTIAL = "route-api.credential";
const USER = "route-api.user";
const DRAFT = "route-api.draft.";
const LANGUAGE = "route-api.language";
const DEFAULT_USER = "console";

/** A storage of the browser. What it does not take, as it is full or forbidden, is kept until the page is reloaded. */
class Store {
    constructor(name) {
        this.kept = new Map();
        try {
            this.storage = globalThis[name];
        } catch {
            this.storage = null; // The browser's settings forbid it.
        }
    }

    get(key) {
        return this.kept.get(key) ?? this.storage?.getItem(key) ?? null;
    }

    set(key, value) {
        this.kept.set(key, value);
        if (!this.storage) return;
        try {
            this.storage.setItem(key, value);
            this.kept.delete(key);
        } catch (error) {
            console.warn("The browser's storage is full.", error);
        }
    }

    remove(key) {
        this.kept.delete(key);
        this.storage?.removeItem(key);
    }
}

const session = new Store("sessionStorage");
const lasting = new Store("localStorage");

/** Who uses the page: `{token, name}`, or null. `name` is empty for a service key. It is in session storage only. */
export function credential() {
    return JSON.parse(session.get(CREDENTIAL) ?? "null");
}

export function setCredential(value) {
    if (value) session.set(CREDENTIAL, JSON.stringify(value));
    else session.remove(CREDENTIAL);
}

/** The `user_id` of conversations; undefined for a logged-in user, who can only speak for themselves. */
export function userId() {
    return credential()?.name ? undefined : (session.get(USER) ?? DEFAULT_USER);
}

export function setUserId(value) {
    session.set(USER, value || DEFAULT_USER);
}

/** What was typed under this name and not sent; null if there is nothing. */
export function draft(name) {
    return session.get(DRAFT + name);
}

export function dropDrafts(...names) {
    for (const name of names) session.remove(DRAFT + name);
}

/** Let a field keep what is typed into it, over errors and reloads, until `dropDrafts` is called with this name. */
export function keepDraft(field, name) {
    const kept = draft(name);
    const isBox = field.type === "checkbox";
    if (kept !== null && isBox) field.checked = kept === "true";
    else if (kept !== null) field.value = kept;
    field.addEventListener("input", () => session.set(DRAFT + name, isBox ? String(field.checked) : field.value));
    return field;
}

export function storedLanguage() {
    return lasting.get(LANGUAGE);
}

export function storeLanguage(value) {
    lasting.set(LANGUAGE, value);
}
