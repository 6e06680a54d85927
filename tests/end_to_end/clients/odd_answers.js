/** Our own client against a server of odd answers: streams cut anywhere, streams that break off, answers of proxies. */

import {once} from "node:events";
import {createServer} from "node:http";
import {RouteApi} from "../../../clients/javascript/route-api.js";
import {equal} from "./equal.js";

const FAILURE = {code: -1, data: null, message: "Too busy.", error: "too_many_requests", request_id: "r", warnings: ["w"]};
const LONG = 5_000_000;
const EVENTS = [
    ": ping\r\n\r\n",
    "event: sources\r\ndata: {\"message_id\":\"m\",\r\ndata: \"references\":[]}\r\n\r\n",
    "event: delta\ndata: {\"answer\":\"葫芦: 庙\"}\n\n",
    "event:delta\rdata:{\"answer\":\"！\"}\r\r",
    "retry: 10\nid\n\n",
    "event: end\ndata: {\"code\":0,\"data\":{\"answer\":\"葫芦: 庙！\"}}\n\n",
];

const ANSWERS = {
    async "/whole/chat/chat"(answer) {
        answer.writeHead(200, {"Content-Type": "text/event-stream; charset=utf-8"});
        for (const byte of Buffer.from(`\ufeff${EVENTS.join("")}`)) {
            answer.write(Buffer.from([byte]));
            await new Promise(setImmediate);
        }
        answer.end();
    },
    async "/long/chat/chat"(answer) {
        answer.writeHead(200, {"Content-Type": "text/event-stream"});
        const event = Buffer.from(`event: end\ndata: {"code":0,"data":{"answer":"${"葫".repeat(LONG)}"}}\n\n`);
        for (let start = 0; start < event.length; start += 4096) {
            if (!answer.write(event.subarray(start, start + 4096))) await once(answer, "drain");
        }
        answer.end();
    },
    "/ends-early/chat/chat"(answer) {
        answer.writeHead(200, {"Content-Type": "text/event-stream"}).end(EVENTS.slice(0, 3).join(""));
    },
    "/breaks-off/chat/chat"(answer) {
        answer.writeHead(200, {"Content-Type": "text/event-stream"}).write(EVENTS.slice(0, 3).join(""));
        setTimeout(() => answer.destroy(), 50);
    },
    "/status-200/chat/chat": json(200, FAILURE),
    "/status-200/kb/list": json(200, FAILURE),
    "/busy/kb/list": json(429, FAILURE, {"Retry-After": "7"}),
    "/dify/datasets/k%2F1/document/create_by_file": json(400, {code: "no_file_uploaded", message: "Please", status: 400}),
    "/proxy/kb/list"(answer) {
        answer.writeHead(502, {"Content-Type": "text/html", "X-Request-Id": "p"}).end("<h1>Bad Gateway</h1>");
    },
    "/page/kb/list": page(200),
    "/page/chat/chat": page(200),
    "/page/document/download?kb_id=k&document_id=d": page(200),
    "/broken/kb/list": text(502, "application/json", "{"),
    "/null/kb/list": text(200, "application/json", "null"),
    "/late/kb/list": text(503, "text/plain", "Later", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
    "/file/document/download?kb_id=k&document_id=d": text(200, "application/json", "[]", {
        "Content-Disposition": "attachment; filename=\"data.json\"; filename*=UTF-8''%E6%95%B0%E6%8D%AE.json",
    }),
    "/half/kb/list"(answer) {
        answer.writeHead(200, {"Content-Type": "application/json", "Content-Length": "50"}).write("{");
        setTimeout(() => answer.destroy(), 50);
    },
};

function json(status, body, headers = {}) {
    return text(status, "application/json", JSON.stringify(body), headers);
}

/** What the server of a website answers to a path that it does not know. */
function page(status) {
    return text(status, "text/html", "<!DOCTYPE html><title>A website</title>");
}

function text(status, type, body, headers = {}) {
    return (answer) => answer.writeHead(status, {"Content-Type": type, ...headers}).end(body);
}

const server = createServer((request, answer) => ANSWERS[request.url](answer));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const client = (name) => new RouteApi({baseUrl: `http://127.0.0.1:${server.address().port}/${name}/`});
const question = {user_id: "alice", message: "?", stream: true};

const seen = [];
for await (const event of client("whole").chat(question)) seen.push(event);
equal(seen.map(({type}) => type), ["sources", "delta", "delta", "end"]);
equal(seen[0], {type: "sources", message_id: "m", references: []});
equal([seen[1].answer + seen[2].answer, seen[3].data.answer], ["葫芦: 庙！", "葫芦: 庙！"]);
const begun = performance.now();
for await (const event of client("long").chat(question)) equal(event.data.answer.length, LONG);
const seconds = (performance.now() - begun) / 1000;
if (seconds > 60) throw new Error(`A long event took ${seconds} seconds.`); // Looking at each piece again takes minutes.
for (const name of ["ends-early", "breaks-off"]) {
    const types = [];
    const error = await errorOf(async () => {
        for await (const {type} of client(name).chat(question)) types.push(type);
    });
    equal([types, error.code, error.status], [["sources", "delta"], "connection_failed", 0]);
}
const errors = {
    "status-200": {code: "too_many_requests", status: 200, requestId: "r", warnings: ["w"], retryAfter: null},
    busy: {code: "too_many_requests", status: 429, requestId: "r", warnings: ["w"], retryAfter: 7},
    proxy: {code: "unexpected_answer", status: 502, requestId: "p", warnings: [], retryAfter: null},
    page: {code: "unexpected_answer", status: 200, requestId: null, warnings: [], retryAfter: null},
    broken: {code: "unexpected_answer", status: 502, requestId: null, warnings: [], retryAfter: null},
    null: {code: "unexpected_answer", status: 200, requestId: null, warnings: [], retryAfter: null},
    late: {code: "unexpected_answer", status: 503, requestId: null, warnings: [], retryAfter: null},
    half: {code: "connection_failed", status: 0, requestId: null, warnings: [], retryAfter: null},
};
for (const [name, wanted] of Object.entries(errors)) {
    const {code, status, requestId, warnings, retryAfter} = await errorOf(() => client(name).kbList());
    equal({code, status, requestId, warnings, retryAfter}, wanted);
}
equal((await errorOf(() => client("status-200").chat(question).next())).code, "too_many_requests");
equal((await errorOf(() => client("page").chat(question).next())).code, "unexpected_answer");
const wanted = {kb_id: "k", document_id: "d"};
equal((await errorOf(() => client("page").documentDownload(wanted))).code, "unexpected_answer");
const file = await client("file").documentDownload(wanted);
equal([file.name, await file.text()], ["数据.json", "[]"]);
const raw = {kb_id: "k/1", file: new Blob(["x"])};
equal((await errorOf(() => client("dify").datasetsDocumentCreateByFile(raw))).code, "no_file_uploaded");
server.close();
console.log("the end");

async function errorOf(call) {
    try {
        await call();
    } catch (error) {
        return error;
    }
    throw new Error("no error");
}
