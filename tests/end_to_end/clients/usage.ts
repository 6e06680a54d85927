/** Is only type-checked: what the types of our own client know, and what they refuse. */

import { RouteApi, type Answer, type TurnEvent } from "../../../clients/javascript/route-api.js";

export async function use(client: RouteApi): Promise<string> {
    const total: number = (await client.kbList()).data.total;
    await client.kbList({ page: 2 }, { signal: AbortSignal.timeout(1000) });
    const { data }: Answer<"kb_create"> = await client.kbCreate({ name: "红楼梦" }, { idempotencyKey: "once" });
    const kb_id: string = data.kb_id;
    await client.documentUpload({ kb_id, file: new File([], "a.txt"), on_duplicate: "replace" });
    const file: File = await client.documentDownload({ kb_id, document_id: ["…"] });
    const metrics: string = await client.metrics();
    await client.datasetsDocumentsSegmentAction({ kb_id, doc_id: "…", action: "enable", segment_id: ["…"] });
    await client.messageFeedback({ user_id: "alice", message_id: "…", score: null });
    const whole = await client.completionDb({ user_id: "alice", kb_id, message: "?" });
    const score: number | undefined = whole.rag_info.references[0]?.score;
    let text = "";
    for await (const event of client.completionDb({ user_id: "alice", kb_id, message: "?", stream: true })) {
        text += told(event);
    }
    const pieces = client.completion({ user_id: "alice", message: "?", streaming: true, stream_mode: "cumulative" });
    for await (const { data } of pieces) if (typeof data === "object") text = data.answer;

    // @ts-expect-error kb_id is required
    await client.kbDetail();
    // @ts-expect-error there is no such parameter
    await client.kbCreate({ name: "红楼梦", nome: "x" });
    // @ts-expect-error there is no such value
    await client.kbCreate({ name: "红楼梦", permission: "everybody" });
    // @ts-expect-error there is no such method
    client.kbDelete;
    return `${total} ${file.name} ${metrics} ${score} ${text}`;
}

function told(event: TurnEvent): string {
    switch (event.type) {
        case "sources":
            return event.references.map((source) => source.doc_name).join();
        case "thinking":
            return event.thinking;
        case "delta":
        case "replacement":
            return event.answer;
        case "end":
            return event.data.status;
    }
}
