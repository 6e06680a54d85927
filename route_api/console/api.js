// The one client of the page, with the session's credential and the page's language.

import {acceptLanguage} from "./i18n.js";
import {RouteApi} from "./route-api.js";
import {credential} from "./session.js";

/** The gateway's address: the page's files are in `console/` below it. */
export const ROOT = new URL("..", import.meta.url).href;
export const BASE = ROOT.endsWith("/v1/") ? ROOT.slice(0, -1) : `${ROOT}v1`;

const LOGIN_ERRORS = ["credentials_missing", "credentials_invalid", "login_ended"];

const client = new RouteApi({baseUrl: BASE});

/**
 * Call an endpoint.
 *
 * @param {string} name the client's method, such as `kbList`
 * @returns the whole answer; for a stream, its events
 * @throws {RouteApiError}
 */
export function call(name, parameters = {}, options = {}) {
    client.token = credential()?.token ?? "";
    return client[name](parameters, {...options, headers: {"Accept-Language": acceptLanguage()}});
}

/** The `data` of an endpoint's answer. */
export async function data(name, parameters, options) {
    return (await call(name, parameters, options)).data;
}

/** Whether an error says that nobody has logged in, or that the login has ended; by its name, as the status may be 200. */
export function needsLogin(error) {
    return LOGIN_ERRORS.includes(error.code);
}

/** Whether an error says that what was asked for has been deleted, so that asking again is of no use. */
export function isGone(error) {
    return /_not_found$/.test(error.code ?? "");
}

/** Whether a request was given up by the page itself. */
export function wasAborted(error) {
    return error?.name === "AbortError";
}
