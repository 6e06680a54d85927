// Builds elements. Texts become text nodes: nothing here, and nothing elsewhere on the page, reads a text as HTML.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
    book: "M4 5a2 2 0 0 1 2-2h13v16H6a2 2 0 0 0-2 2zM4 19V5m15 14v2H6",
    chat: "M21 12a8 8 0 0 1-8 8H4l2-3a8 8 0 1 1 15-5z",
    chevron: "M9 6l6 6-6 6",
    close: "M6 6l12 12M18 6L6 18",
    code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
    copy: "M9 9h11v11H9zM5 15H4V4h11v1",
    down: "M12 4v12m-5-5 5 5 5-5M5 20h14",
    edit: "M4 20h4L19 9l-4-4L4 16z",
    file: "M6 3h8l5 5v13H6zM14 3v5h5",
    key: "M14 10a4 4 0 1 0-3.5 3.97L12 12.5V15h2v2h2v2h4v-3z",
    menu: "M4 7h16M4 12h16M4 17h16",
    more: "M4 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0zM11 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0zM18 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0z",
    plus: "M12 5v14M5 12h14",
    pulse: "M3 12h4l3-8 4 16 3-8h4",
    retry: "M20 11a8 8 0 1 0-2 6M20 5v6h-6",
    search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5",
    send: "M4 12l16-8-6 16-3-7z",
    sliders: "M4 8h10M18 8h2M4 16h2M10 16h10M14 6v4M8 14v4",
    stop: "M7 7h10v10H7z",
    thumbDown: "M7 13l4 8c2 0 2-2 2-5h5l1-8-2-4H7zM7 4v9H3V4z",
    thumbUp: "M7 11l4-8c2 0 2 2 2 5h5l1 8-2 4H7zM7 20v-9H3v9z",
    trash: "M4 7h16M9 7V4h6v3M6 7l1 14h10l1-14M10 11v6M14 11v6",
    upload: "M12 20V8m-5 5 5-5 5 5M5 4h14",
    warning: "M12 3l10 18H2zM12 10v5M12 18h.01",
};

/**
 * Make an element.
 *
 * @param {string} tag the tag's name, with classes: `button.primary`
 * @param {object} [properties] `onclick` and the like are listeners; all others are attributes. `true` sets an empty
 *     attribute; false, null and undefined set none
 * @param {...(Node | string | number | null | Array)} children
 */
export function el(tag, properties = {}, ...children) {
    const [name, ...classes] = tag.split(".");
    const made = document.createElement(name);
    if (classes.length) made.className = classes.join(" ");
    for (const [key, value] of Object.entries(properties)) {
        if (value === false || value === null || value === undefined) continue;
        if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
        else made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return made;
}

/** Make an element of an SVG picture. */
export function svg(tag, attributes = {}, ...children) {
    const made = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
}

/** A picture of 24 by 24 units, which a screen reader does not mention. */
export function icon(name) {
    return svg("svg", {viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true"}, svg("path", {d: ICONS[name]}));
}

/** A button with an icon, a text, or both. Without a text, `label` is its name. */
export function button(text, onclick, {kind = "", icon: iconName, label, ...rest} = {}) {
    const classes = `button.btn${kind ? `.${kind.replaceAll(" ", ".")}` : ""}${text ? "" : ".bare"}`;
    const named = label ? {"aria-label": label, title: label} : {};
    const content = [iconName && icon(iconName), text && el("span", {}, text)];
    return el(classes, {type: "button", onclick, ...named, ...rest}, ...content);
}

/** Put these children in place of those that a node has. */
export function fill(node, ...children) {
    node.replaceChildren(
        ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
    );
    return node;
}

let lastId = 0;

/** An id for an element that another element names. */
export function newId() {
    return `e${++lastId}`;
}

/** A function that calls another one when it was not called for some time. */
export function debounced(call, ms = 250) {
    let timer = 0;
    return (...given) => {
        clearTimeout(timer);
        timer = setTimeout(call, ms, ...given);
    };
}

/** Wait. Ends at once, with an error, if the signal is aborted. */
export function pause(ms, signal) {
    return new Promise((resolve, reject) => {
        const timer = setTimeout(resolve, ms);
        signal?.addEventListener("abort", () => {
            clearTimeout(timer);
            reject(signal.reason);
        });
    });
}
