/** The whole story, played with our own client, in Node and in a browser: create, upload, search, ask, stop, delete. */

import {RouteApi, RouteApiError} from "../../../clients/javascript/route-api.js";
import {equal} from "./equal.js";

const TEXT = "葫芦庙在姑苏城阊门外十里街的仁清巷内。\n\n庙旁住着一家乡宦，姓甄，名费，字士隐。";
const user_id = "yinglian";

export async function play(baseUrl, token) {
    const client = new RouteApi({baseUrl, token});
    const {data: {kb_id}} = await client.kbCreate({name: `客户端 ${Date.now()}`, description: "试"});
    const told = [];
    const file = [new File([TEXT], "葫芦庙 一.txt"), new File([TEXT.repeat(2000)], "葫芦庙 二.txt")];
    const uploaded = await client.documentUpload({kb_id, file}, {onProgress: (progress) => told.push(progress)});
    equal(uploaded.data.map(({name}) => name), ["葫芦庙 一.txt", "葫芦庙 二.txt"]);
    if (typeof XMLHttpRequest !== "undefined") {
        const {loaded, total} = told.at(-1);
        equal([loaded === total, total > TEXT.length * 2000], [true, true]);
    }
    for (const {batch} of uploaded.data) await indexed(client, {kb_id, batch});
    const {data: listed} = await client.documentList({kb_id, keywords: "一", page_size: 5});
    equal([listed.total, listed.docs[0].run], [1, "3"]);
    const saved = await client.documentDownload({kb_id, document_id: listed.docs[0].id});
    equal([saved.name, await saved.text()], ["葫芦庙 一.txt", TEXT]);
    const found = await client.chunkRetrievalTest({kb_id, question: "葫芦庙在哪里？", doc_ids: [listed.docs[0].id]});
    equal(found.data.records[0].document.name, "葫芦庙 一.txt");

    const whole = await client.completionDb({user_id, kb_id, message: "葫芦庙在哪里？"});
    equal([whole.data.status, whole.rag_info.references.length > 0], ["done", true]);
    const {conversation_id} = await streamed(client, kb_id, whole.data.conversation_id);
    await leftEarly(client, conversation_id);
    await stopped(client, conversation_id);
    await aborted(client, conversation_id);
    await failed(client);
    const {data: {messages}} = await client.conversationMessages({user_id, conversation_id});
    equal(messages.map(({status}) => status), ["done", "done", "stopped", "stopped", "stopped"]);

    await client.conversationRm({user_id, conversation_id});
    await client.kbRm({kb_id});
    equal(await codeOf(client.kbDetail({kb_id})), "kb_not_found");
    equal((await client.metrics()).includes("route_api_"), true);
    return "the end";
}

async function indexed(client, batch) {
    for (;;) {
        const {data} = await client.documentStatus(batch);
        if (data.data.every(({indexing_status}) => indexing_status === "completed")) return;
        await pause();
    }
}

async function streamed(client, kb_id, conversation_id) {
    const events = [];
    const asked = {user_id, kb_id, conversation_id, message: "甄士隐住在哪里？"};
    for await (const event of client.completionDb({...asked, stream: true})) events.push(event);
    const [sources, ...rest] = events;
    const end = rest.pop();
    const join = (type, name) => rest.filter((event) => event.type === type).map((event) => event[name]).join("");
    equal([sources.type, sources.references, end.type], ["sources", end.rag_info.references, "end"]);
    equal([join("delta", "answer"), join("thinking", "thinking")], [end.data.answer, end.data.thinking]);
    equal(rest.filter((event) => event.message_id || event.code), []);
    equal(rest.filter((event) => !(event.answer || event.thinking) || /<|>/.test(event.answer)), []);
    equal([sources.message_id, sources.conversation_id], [end.data.message_id, end.data.conversation_id]);
    return sources;
}

/** Leaving the loop closes the request, and the server stops the model. */
async function leftEarly(client, conversation_id) {
    let message_id, part;
    for await (const event of client.completion({user_id, conversation_id, message: SLOW, stream: true})) {
        message_id ??= event.message_id;
        if (event.type === "delta") break;
    }
    for (;;) {
        part = (await client.messageGet({user_id, message_id})).data;
        if (part.status !== "pending") break;
        await pause();
    }
    equal([part.status, part.reason, part.response !== ""], ["stopped", "caller_left", true]);
}

/** A page that is reloaded in the middle finds the part with its status, and may stop the rest. */
async function stopped(client, conversation_id) {
    let last, message_id, part;
    for await (const event of client.completion({user_id, conversation_id, message: SLOW, stream: true})) {
        message_id ??= event.message_id;
        last = event;
        if (event.type !== "delta" || part) continue;
        while (!part?.thinking) {
            await pause();
            part = (await client.messageGet({user_id, message_id})).data;
        }
        equal([part.status, part.response.startsWith("<think>")], ["pending", true]);
        equal((await client.conversationStop({user_id, conversation_id})).data.stopped, true);
    }
    equal([last.type, last.data.status], ["end", "stopped"]);
}

async function aborted(client, conversation_id) {
    const leaving = new AbortController();
    const events = client.completion({user_id, conversation_id, message: SLOW, stream: true}, {signal: leaving.signal});
    try {
        for await (const event of events) if (event.type === "thinking") leaving.abort();
        throw new Error("the stream was not aborted");
    } catch (error) {
        equal(error.name, "AbortError");
    }
    for (;;) {
        const {data: {last_message}} = await client.conversationGet({user_id, conversation_id});
        if (last_message.status === "stopped") return;
        await pause();
    }
}

async function failed(client) {
    try {
        await client.kbList({page: 0});
    } catch (error) {
        equal([error instanceof RouteApiError, error.code, error.status], [true, "validation_failed", 400]);
        equal([error.message.includes("page"), error.requestId.length], [true, 32]);
    }
    const wrong = new RouteApi({baseUrl: client.baseUrl, token: "wrong"});
    equal(await codeOf(wrong.kbList()), "credentials_invalid");
    equal(await codeOf(new RouteApi({baseUrl: "http://127.0.0.1:1/v1"}).kbList()), "connection_failed");
    const fails = client.completion({user_id, message: "[[midfail]] 葫芦庙", stream: true});
    const {value: {type, message_id}} = await fails.next();
    equal([type, (await codeOf(rest(fails)))], ["sources", "model_failed"]);
    equal((await client.messageGet({user_id, message_id})).data.status, "failed");
    equal((await client.kbList({page_sise: 5})).warnings.length, 1);
}

async function rest(events) {
    for await (const _ of events);
}

async function codeOf(promise) {
    return promise.then(() => "no error", (error) => error.code);
}

const SLOW = "葫芦庙在哪里？[[len:4000]][[delay:20]]";

function pause() {
    return new Promise((resolve) => setTimeout(resolve, 100));
}
