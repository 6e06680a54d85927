// The address of the page after `#`: which view is shown, and of what.

let show = () => {};

/** The parts of the path and the parameters: `#/kbs/1?tab=x` is `{parts: ["kbs", "1"], query: {tab: "x"}}`. */
export function route() {
    const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
    return {
        parts: path.split("/").filter(Boolean).map(decoded),
        query: Object.fromEntries(new URLSearchParams(query)),
    };
}

/** A part of a path. One that is no valid encoding, as in an address that was cut, is taken as it stands. */
function decoded(part) {
    try {
        return decodeURIComponent(part);
    } catch {
        return part;
    }
}

/** The address of a view. */
export function to(parts, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value);
    const suffix = given.length ? `?${new URLSearchParams(given)}` : "";
    return `#/${parts.map(encodeURIComponent).join("/")}${suffix}`;
}

/** Show the view of an address; anew if it is the present one. */
export function go(parts, query) {
    const address = to(parts, query);
    if (location.hash === address) reload();
    else location.hash = address;
}

/** Change the address without showing another view: a new conversation has got its id. */
export function rename(parts, query) {
    history.replaceState(null, "", to(parts, query));
}

/** Show the view of the present address, and of each later one. */
export function start(showRoute) {
    show = showRoute;
    addEventListener("hashchange", () => show(route()));
    show(route());
}

/** Show the view of the present address anew. @param {object} [how] what `showRoute` gets beside the route */
export function reload(how) {
    show(route(), how);
}
