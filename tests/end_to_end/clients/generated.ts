/** The whole story, played with the types of openapi-typescript and the client that belongs to them, openapi-fetch. */

import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { argv: string[] };

const [, , baseUrl, token] = process.argv;
const settings = { baseUrl: baseUrl!, headers: { Authorization: `Bearer ${token}` } };
const client = createClient<paths, "application/json">(settings);
const streams = createClient<paths, "text/event-stream">(settings);
const TEXT = "葫芦庙在姑苏城阊门外十里街的仁清巷内。";

async function succeeded<Answer>(asked: Promise<{ data?: Answer; error?: unknown }>): Promise<Answer> {
    const { data, error } = await asked;
    if (data === undefined) throw new Error(JSON.stringify(error));
    return data;
}

const kb = await succeeded(client.POST("/kb/create", { body: { name: `TypeScript ${Date.now()}` } }));
const kb_id = kb.data.kb_id;
const uploaded = await succeeded(
    client.POST("/document/upload", {
        body: { kb_id, file: [TEXT] },
        bodySerializer: (body) => {
            const form = new FormData();
            form.append("kb_id", body.kb_id);
            body.file.forEach((text) => form.append("file", new File([text], "葫芦庙.txt")));
            return form;
        },
    }),
);
const batch = uploaded.data[0]!.batch;
for (let state = ""; state !== "completed"; await new Promise((resolve) => setTimeout(resolve, 100))) {
    const status = await succeeded(client.GET("/document/status", { params: { query: { kb_id, batch } } }));
    state = status.data.data[0]!.indexing_status;
}
const listed = await succeeded(client.POST("/document/list", { body: { kb_id } }));
equal(listed.data.docs.map((row) => row.name), ["葫芦庙.txt"]);
const found = await succeeded(client.POST("/chunk/retrieval_test", { body: { kb_id, question: "葫芦庙在哪里？" } }));
equal(found.data.records[0]!.content, TEXT);

const question = { user_id: "yinglian", kb_id, message: "葫芦庙在哪里？" };
const whole = await succeeded(client.POST("/conversation/completion_db", { body: question }));
equal([whole.data.status, whole.rag_info.references.length], ["done", 1]);

type Event = paths["/conversation/completion_db"]["post"]["responses"][200]["content"]["text/event-stream"];
const { response } = await streams.POST("/conversation/completion_db", {
    body: { ...question, streaming: true, stream_mode: "events" },
    parseAs: "stream",
});
const events = (await response.text()).split("\n\n").filter((block) => block.startsWith("event: "));
const names = events.map((block) => block.split("\n")[0]!.slice("event: ".length));
const datas = events.map((block) => JSON.parse(block.split("\ndata: ")[1]!) as Event);
equal([names[0], names.at(-1)], ["sources", "end"]);
const first = datas[0]!;
equal("references" in first && first.references[0]!.content, TEXT);

const removed = await client.POST("/kb/rm", { body: { kb_id } });
equal(removed.data?.code, 0);
const gone = await client.POST("/kb/detail", { body: { kb_id } });
equal([gone.response.status, gone.error?.error], [404, "kb_not_found"]);
console.log("the end");

function equal(ours: unknown, wanted: unknown): void {
    if (JSON.stringify(ours) !== JSON.stringify(wanted)) {
        throw new Error(`${JSON.stringify(ours)} is not ${JSON.stringify(wanted)}`);
    }
}
