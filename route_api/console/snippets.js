// An action of the page as a command of curl, and as JavaScript with the client that this page uses.

import {BASE} from "./api.js";
import {ENDPOINTS} from "./route-api.js";
import {credential} from "./session.js";

const CLIENT = BASE.replace(/\/v1$/, "/console/route-api.js");

/**
 * The command of curl for a call. Where a credential is needed, it has a variable in its place.
 *
 * @param {{name: string, parameters: object}} call a method of the client with its parameters
 */
export function asCurl({name, parameters = {}}) {
    const [method, path] = ENDPOINTS[name].split(" ");
    const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
    const lines = [
        `curl ${isStream(parameters) ? "-N " : ""}${method === "GET" ? "-G " : ""}${quoted(`${BASE}/${path}`)}`,
    ];
    if (credential()) lines.push('-H "Authorization: Bearer $KEY"');
    if (method === "GET")
        lines.push(...given.map(([key, value]) => `--data-urlencode ${quoted(`${key}=${plain(value)}`)}`));
    else if (method === "FORM") lines.push(...given.flatMap(([key, value]) => formFields(key, value)));
    else lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(Object.fromEntries(given)))}`);
    if (name === "documentDownload") lines.push("-OJ");
    return lines.join(" \\\n     ");
}

/** JavaScript for a call, as a module that runs in browsers and in Node, beside a copy of the client. */
export function asJavaScript({name, parameters = {}}) {
    const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
    const shown = given.map(([key, value]) => `    ${key}: ${literal(value)},`).join("\n");
    const argument = given.length ? `{\n${shown}\n}` : "";
    const head = [
        `// curl -o route-api.mjs ${quoted(CLIENT)}`,
        'import {RouteApi} from "./route-api.mjs";',
        "",
        `const client = new RouteApi({baseUrl: ${JSON.stringify(BASE)}${credential() ? ', token: "your key"' : ""}});`,
    ];
    const body = isStream(parameters)
        ? [`for await (const event of client.${name}(${argument})) {`, "    console.log(event);", "}"]
        : [`const answer = await client.${name}(${argument});`, "console.log(answer);"];
    return [...head, ...body].join("\n");
}

function isStream(parameters) {
    return Boolean(parameters.streaming);
}

function formFields(key, value) {
    const files = [value].flat().filter((each) => each instanceof File);
    if (!files.length) return [`--form-string ${quoted(`${key}=${plain(value)}`)}`];
    return files.map((file) => `-F ${quoted(`${key}=@${file.name}`)}`);
}

function plain(value) {
    return Array.isArray(value) ? value.join(",") : typeof value === "object" ? JSON.stringify(value) : String(value);
}

function literal(value) {
    const files = [value].flat().filter((each) => each instanceof File);
    if (files.length) return `[${files.map((file) => `new File(["text"], ${JSON.stringify(file.name)})`)}]`;
    return JSON.stringify(value);
}

/** A word of the shell. */
function quoted(text) {
    return `'${text.replaceAll("'", "'\\''")}'`;
}
