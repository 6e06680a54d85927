/** The types of route-api.js. Those of parameters and answers are in schema.d.ts, made from the OpenAPI document. */

import type { components, Endpoints, operations } from "./schema.js";

export type Schemas = components["schemas"];

/** What every method takes as its second argument. */
export interface Options {
    /** Aborts the request. The method then throws the reason of the signal. */
    signal?: AbortSignal;
    /** A repeated request with the same key gets the same answer (docs/api.md). */
    idempotencyKey?: string;
    /** Told how much of a form was sent, in bytes. In browsers only. */
    onProgress?: (progress: { loaded: number; total: number }) => void;
    headers?: Headers | Record<string, string> | [string, string][];
}

export interface Settings {
    /** The address of the API. The default, `/v1`, is right for a page of the same server. */
    baseUrl?: string;
    /** A service key, or the token that `userLogin` has answered. */
    token?: string;
}

/** The one class of all errors, except that an aborted request throws the reason of its signal. */
export class RouteApiError extends Error {
    /**
     * The name of the error, as docs/api.md lists them; `connection_failed` if no answer arrived or a stream broke off;
     * `unexpected_answer` if something else than Route API has answered.
     */
    code: string;
    /** The HTTP status; 0 without an answer. */
    status: number;
    /** The id of the request in the server's log. */
    requestId: string | null;
    /** What the server did not use of the request. */
    warnings: string[];
    /** What was done, if a request failed in part; the ids of a turn that failed. */
    data: unknown;
    /** Seconds after which a repeated request may succeed. */
    retryAfter: number | null;
}

type Operation = keyof operations;
type Json<Op extends Operation> = operations[Op] extends { requestBody: { content: { "application/json": infer Body } } }
    ? Body
    : operations[Op] extends { requestBody?: { content: { "application/json": infer Body } } }
      ? Partial<Body>
      : unknown;
/** `file` is one, or a list of them, such as `input.files`. `FileList` is not named: the types of Node do not have it. */
type Files<Form> = { [Name in keyof Form]: Name extends "file" ? Blob | ArrayLike<Blob> : Form[Name] };
type Form<Op extends Operation> = operations[Op] extends {
    requestBody: { content: { "multipart/form-data": infer Body } };
}
    ? Files<Body>
    : unknown;
type Given<Place> = Place extends object ? Place : unknown;
type Path<Op extends Operation> = Given<operations[Op]["parameters"]["path"]>;
type Query<Op extends Operation> = Given<operations[Op]["parameters"]["query"]>;

/** The parameters of an operation. */
export type Params<Op extends Operation> = Json<Op> & Form<Op> & Path<Op> & Query<Op>;

type Content<Op extends Operation> = operations[Op]["responses"][200]["content"];

/** The answer of an operation: its body as docs/api.md shows it, a file, or a text. */
export type Answer<Op extends Operation> =
    Content<Op> extends { "application/json": infer Body }
        ? Body
        : Content<Op> extends { "application/octet-stream": unknown }
          ? File
          : string;

/** An event of a stream, told apart by its `type`. */
export type TurnEvent<Op extends Operation = "completion_db"> =
    | ({ type: "sources" } & Schemas["SourcesEvent"])
    | ({ type: "thinking" } & Schemas["ThinkingEvent"])
    | ({ type: "delta" } & Schemas["DeltaEvent"])
    | ({ type: "replacement" } & Schemas["StreamTexts"])
    | ({ type: "end" } & Answer<Op>);

/** An event of the stream modes `delta` and `cumulative`. */
export type UnnamedEvent<Op extends Operation> = { type: "message" } & (
    | Schemas["StreamPiece"]
    | Answer<Op>
    | Schemas["StreamEnd"]
);

type Streamed = { stream: true } | { streaming: true };

interface Ask<Op extends Operation> {
    /** Ask for the answer as events without names: each has the new piece of the text, or the text so far. */
    (
        params: Params<Op> & Streamed & { stream_mode: "delta" | "cumulative" },
        options?: Options,
    ): AsyncGenerator<UnnamedEvent<Op>, void, void>;
    /** Ask for the answer as events. Whoever leaves the loop over them early stops the model. */
    (params: Params<Op> & Streamed, options?: Options): AsyncGenerator<TurnEvent<Op>, void, void>;
    /** Ask for the answer in one piece. */
    (params: Params<Op> & { stream?: false }, options?: Options): Promise<Answer<Op>>;
}

type Method<Op extends Operation> =
    Content<Op> extends { "text/event-stream": unknown }
        ? Ask<Op>
        : object extends Params<Op>
          ? (params?: Params<Op>, options?: Options) => Promise<Answer<Op>>
          : (params: Params<Op>, options?: Options) => Promise<Answer<Op>>;

type Methods = { [Name in keyof Endpoints]: Method<Endpoints[Name]> };

/** The HTTP method and the path of each method: `{kbList: "GET kb/list", …}`. FORM stands for a POST of a form with files. */
export const ENDPOINTS: Readonly<Record<keyof Methods, string>>;

export class RouteApi {
    constructor(settings?: Settings);
    baseUrl: string;
    token: string;
}

export interface RouteApi extends Methods {}
