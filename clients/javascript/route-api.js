/**
 * A client of Route API, for browsers and Node 20.3 or newer. It needs no other package and no build step.
 *
 *     import {RouteApi} from "./route-api.js";
 *     const client = new RouteApi({baseUrl: "http://127.0.0.1:8000/v1", token: "…"});
 *     const {data} = await client.kbList({keywords: "红楼梦"});
 *
 * Each endpoint is a method. Its name is the path: `kb/list` is `kbList`. Only the three endpoints that ask the model
 * have shorter names: `completion`, `completionDb` and `chat`. A method takes the parameters of docs/api.md, and
 * returns the answer as it is shown there. route-api.d.ts has the types of both.
 */

/** The HTTP method and the path of each endpoint. FORM stands for a POST of a form with files. */
export const ENDPOINTS = {
    kbList: "GET kb/list",
    kbCreate: "POST kb/create",
    kbDetail: "GET kb/detail",
    kbUpdate: "POST kb/update",
    kbRm: "POST kb/rm",
    documentUpload: "FORM document/upload",
    documentList: "GET document/list",
    documentGet: "POST document/get",
    documentDownload: "GET document/download",
    documentRm: "POST document/rm",
    documentChangeStatus: "POST document/change_status",
    documentStatus: "GET document/status",
    chunkRetrievalTest: "POST chunk/retrieval_test",
    chunkList: "GET chunk/list",
    chunkSwitch: "POST chunk/switch",
    datasetsDocumentCreateByFile: "FORM datasets/{kb_id}/document/create_by_file",
    datasetsDocumentsSegmentAction: "PATCH datasets/{kb_id}/documents/{doc_id}/segment/{action}",
    completion: "POST conversation/completion",
    completionDb: "POST conversation/completion_db",
    chat: "POST chat/chat",
    conversationSubmitForm: "POST conversation/submit_form",
    conversationList: "GET conversation/list",
    conversationGet: "GET conversation/get",
    conversationRename: "POST conversation/rename",
    conversationRm: "POST conversation/rm",
    conversationMessages: "GET conversation/messages",
    conversationStop: "POST conversation/stop",
    messageGet: "GET message/get",
    messageFeedback: "POST message/feedback",
    messageSuggested: "GET message/suggested",
    promptList: "GET prompt/list",
    llmMyLlms: "GET llm/my_llms",
    userRegister: "POST user/register",
    userLogin: "POST user/login",
    userInfo: "GET user/info",
    userPassword: "POST user/password",
    userLogout: "POST user/logout",
    userSetTenantInfo: "POST user/set_tenant_info",
    difyCheck: "GET dify/check",
    healthz: "GET healthz",
    readyz: "GET readyz",
    metrics: "GET metrics",
    openapiJson: "GET openapi.json",
};

/** The one class of all errors, except that an aborted request throws the reason of its AbortSignal. */
export class RouteApiError extends Error {
    /**
     * @param {string} message a sentence for a person
     * @param {object} [details]
     * @param {string} [details.code] the name of the error, `error` in docs/api.md; `connection_failed` if no answer
     *     arrived or a stream broke off; `unexpected_answer` if something else than Route API has answered
     * @param {number} [details.status] the HTTP status; 0 without an answer
     * @param {string | null} [details.requestId] the id of the request in the server's log
     * @param {string[]} [details.warnings] what the server did not use of the request
     * @param {unknown} [details.data] what was done, if a request failed in part; the ids of a turn that failed
     * @param {number | null} [details.retryAfter] seconds after which a repeated request may succeed
     * @param {unknown} [details.cause] the error of the browser or of Node
     */
    constructor(message, {cause, ...details} = {}) {
        super(message, {cause});
        const defaults = {code: "connection_failed", status: 0, requestId: null, warnings: [], data: null, retryAfter: null};
        Object.assign(this, {name: "RouteApiError", ...defaults, ...details});
    }
}

export class RouteApi {
    static {
        for (const [name, endpoint] of Object.entries(ENDPOINTS)) {
            /** @type {any} */ (this.prototype)[name] = function (
                /** @type {Record<string, any>} */ params = {},
                /** @type {import("./route-api.js").Options} */ options = {},
            ) {
                return params.stream || params.streaming
                    ? this.#events(endpoint, params, options)
                    : this.#answer(endpoint, params, options);
            };
        }
    }

    /**
     * @param {object} [settings]
     * @param {string} [settings.baseUrl] the address of the API; in a page of the same server the default will do
     * @param {string} [settings.token] a service key, or the token that `userLogin` has answered; may be set later
     */
    constructor({baseUrl = "/v1", token = ""} = {}) {
        this.baseUrl = baseUrl.replace(/\/+$/, "");
        this.token = token;
    }

    /** The answer in one piece: JSON, a file, or a text. */
    async #answer(endpoint, params, options) {
        const response = await this.#send(endpoint, params, options);
        try {
            if (response.headers.has("Content-Disposition")) {
                return new File([await response.blob()], fileName(response), {type: typeOf(response)});
            }
            if (endpoint === ENDPOINTS.metrics) return await response.text();
            return checked(await jsonOf(response), response);
        } catch (error) {
            throw errorOf(error, options.signal);
        }
    }

    /** The events of a stream. Whoever leaves the loop early closes the request, and so stops the model. */
    async *#events(endpoint, params, options) {
        const leaving = new AbortController();
        const signals = [leaving.signal, ...(options.signal ? [options.signal] : [])];
        let isComplete = false;
        try {
            const asked = {stream_mode: "events", ...params};
            const response = await this.#send(endpoint, asked, {...options, signal: AbortSignal.any(signals)});
            if (!typeOf(response).startsWith("text/event-stream")) {
                throw failure(await jsonOf(response), response); // With ERROR_HTTP_STATUS=200, or of another server.
            }
            for await (const {type, data} of serverSentEvents(response.body)) {
                const body = checked(JSON.parse(data), response);
                isComplete ||= type === "end" || body.data === true;
                yield {type, ...body};
            }
            if (!isComplete) throw new Error("the stream ended before the answer was complete.");
        } catch (error) {
            throw errorOf(error, options.signal);
        } finally {
            leaving.abort();
        }
    }

    /** Send a request. @returns {Promise<Response>} the answer, if its HTTP status tells of no failure */
    async #send(endpoint, params, {signal, idempotencyKey, onProgress, headers}) {
        const {method, path, body, type} = requestOf(endpoint, params);
        const sent = new Headers(headers);
        if (this.token) sent.set("Authorization", `Bearer ${this.token}`);
        if (idempotencyKey) sent.set("Idempotency-Key", idempotencyKey);
        if (type) sent.set("Content-Type", type);
        const url = `${this.baseUrl}/${path}`;
        const request = {method, headers: sent, ...(body && {body}), ...(signal && {signal})};
        try {
            const isWatched = onProgress && body instanceof FormData && typeof XMLHttpRequest !== "undefined";
            const response = await (isWatched ? sendWithProgress(url, request, onProgress) : fetch(url, request));
            if (response.ok) return response;
            throw failure(await jsonOf(response), response);
        } catch (error) {
            throw errorOf(error, signal);
        }
    }
}

/** What `fetch` gets for an endpoint and its parameters. */
function requestOf(endpoint, params) {
    const rest = {...params};
    const [method, template] = endpoint.split(" ");
    const path = template.replace(/\{(\w+)\}/g, (_, name) => {
        const value = encodeURIComponent(rest[name]);
        delete rest[name];
        return value;
    });
    const given = Object.entries(rest).filter(([, value]) => value !== undefined && value !== null);
    if (method === "FORM") return {method: "POST", path, body: form(given)};
    if (method === "GET") {
        const query = new URLSearchParams(given.map(([name, value]) => [name, asText(value)])).toString();
        return {method, path: query ? `${path}?${query}` : path};
    }
    return {method, path, body: JSON.stringify(rest), type: "application/json"};
}

/** A form: each File or Blob is a part of its own, a list of them are several parts of the same name. */
function form(given) {
    const body = new FormData();
    for (const [name, value] of given) {
        const all = isList(value) ? Array.from(value) : [value];
        const files = all.filter((each) => each instanceof Blob);
        if (files.length) files.forEach((file) => body.append(name, file));
        else body.append(name, asText(value));
    }
    return body;
}

/** Whether a value is an array, or the files of an input. */
function isList(value) {
    return typeof value === "object" && !(value instanceof Blob) && typeof value.length === "number";
}

function asText(value) {
    return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** `fetch` by XMLHttpRequest, because `fetch` does not tell how much of an upload was sent. */
async function sendWithProgress(url, {method, headers, body, signal}, onProgress) {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    await new Promise((resolve, reject) => {
        request.open(method, url);
        request.responseType = "arraybuffer";
        headers.forEach((value, name) => request.setRequestHeader(name, value));
        request.upload.onprogress = ({loaded, total}) => onProgress({loaded, total});
        request.onload = resolve;
        request.onerror = () => reject(new TypeError("The upload failed."));
        request.onabort = () => reject(signal.reason);
        request.onloadend = () => signal?.removeEventListener("abort", abort);
        signal?.throwIfAborted();
        signal?.addEventListener("abort", abort);
        request.send(body);
    });
    const lines = request.getAllResponseHeaders().split("\r\n").filter(Boolean);
    const received = new Headers();
    for (const [name, value] of lines.map((line) => line.split(/: ?(.*)/, 2))) received.append(name, value);
    // A Response of a status without a body, such as 204, takes none.
    return new Response(request.response.byteLength ? request.response : null, {status: request.status, headers: received});
}

/** The events of a stream, as the HTML standard tells to read them: `{type, data}`. */
async function* serverSentEvents(body) {
    let [type, data] = ["message", /** @type {string[]} */ ([])];
    for await (const line of linesOf(body)) {
        const [name, value = ""] = line.split(/: ?(.*)/s, 2);
        if (name === "event") type = value;
        if (name === "data") data.push(value);
        if (line) continue;
        const text = data.join("\n");
        if (text) yield {type, data: text};
        [type, data] = ["message", []];
    }
}

/** The lines of a stream. Each byte is looked at once, because the last event of a long answer comes in many pieces. */
async function* linesOf(body) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let [begun, isAfterCr] = ["", false];
    for (;;) {
        const {done, value} = await reader.read();
        if (done) return;
        let text = decoder.decode(value, {stream: true});
        if (!text) continue;
        if (isAfterCr && text[0] === "\n") text = text.slice(1); // The second half of a CRLF.
        isAfterCr = text.endsWith("\r");
        const lines = text.split(/\r\n|\r|\n/);
        lines[0] = begun + lines[0];
        begun = lines.pop() ?? "";
        yield* lines;
    }
}

function typeOf(response) {
    return response.headers.get("Content-Type") ?? "";
}

/** The JSON of an answer; undefined if it is no object: not Route API has answered, but perhaps a proxy. */
async function jsonOf(response) {
    const text = await response.text();
    try {
        const body = JSON.parse(text);
        return typeof body === "object" ? (body ?? undefined) : undefined;
    } catch {
        return undefined;
    }
}

/** The body, if it tells of no failure. With ERROR_HTTP_STATUS=200, and in a stream, only `code` does. */
function checked(body, response) {
    if (!body || body.code === -1) throw failure(body, response);
    return body;
}

function failure(body = /** @type {any} */ ({}), response) {
    const {message, error, code, request_id: requestId, warnings, data, retry_after: retryAfter} = body;
    // An event of a stream has it in its body. In the header, a proxy may name a date instead.
    const seconds = Number(retryAfter ?? response.headers.get("Retry-After") ?? NaN);
    const status = `The server answered with HTTP status ${response.status}`;
    return new RouteApiError(message ?? (response.ok ? `${status}, but not as Route API does.` : `${status}.`), {
        code: error ?? (typeof code === "string" ? code : "unexpected_answer"), // A text is Dify's own code.
        status: response.status,
        requestId: requestId ?? response.headers.get("X-Request-Id"),
        warnings: warnings ?? [],
        data: data ?? null,
        retryAfter: Number.isNaN(seconds) ? null : seconds,
    });
}

/** What the caller gets of an error: the reason of an abort, or a RouteApiError. */
function errorOf(error, signal) {
    if (signal?.aborted) return signal.reason;
    if (error instanceof RouteApiError) return error;
    return new RouteApiError(`The connection to the server failed: ${error.message}`, {cause: error});
}

/** The name of a downloaded file, from the header Content-Disposition. */
function fileName(response) {
    const header = response.headers.get("Content-Disposition");
    const encoded = /filename\*=UTF-8''([^;]+)/i.exec(header)?.[1];
    return encoded ? decodeURIComponent(encoded) : (/filename="?([^";]+)"?/i.exec(header)?.[1] ?? "");
}
