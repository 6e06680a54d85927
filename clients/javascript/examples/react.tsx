import { StrictMode, useEffect, useRef, useState, type FormEvent } from "react";
import { createRoot } from "react-dom/client";
import { RouteApi, RouteApiError, type Schemas } from "../route-api.js";

const client = new RouteApi({ baseUrl: "http://127.0.0.1:8000/v1" });

/** Asks a knowledge base, and shows the answer while it arrives, with its sources. */
function Chat({ kbId }: { kbId: string }) {
    const [answer, setAnswer] = useState("");
    const [sources, setSources] = useState<Schemas["SourcesEvent"]["references"]>([]);
    const [problem, setProblem] = useState("");
    const turn = useRef(new AbortController());
    useEffect(() => () => turn.current.abort(), []); // Whoever leaves this view stops the model.

    async function ask(submitted: FormEvent<HTMLFormElement>) {
        submitted.preventDefault();
        const message = String(new FormData(submitted.currentTarget).get("message"));
        turn.current.abort(); // A second question ends the answer to the first one.
        const { signal } = (turn.current = new AbortController());
        setAnswer("");
        setProblem("");
        try {
            for await (const event of client.completionDb({ user_id: "alice", kb_id: kbId, message, stream: true }, { signal })) {
                if (event.type === "sources") setSources(event.references);
                if (event.type === "delta") setAnswer((text) => text + event.answer);
                if (event.type === "replacement") setAnswer(event.answer);
            }
        } catch (error) {
            if (error instanceof RouteApiError) setProblem(`${error.message} (${error.requestId})`);
        }
    }

    return (
        <form onSubmit={ask}>
            <input name="message" required /> <button>Ask</button>
            <button type="button" onClick={() => turn.current.abort()}>Stop</button>
            <p id="answer">{answer}</p>
            <p role="alert">{problem}</p>
            <ol>{sources.map((source) => <li key={source.chunk_id}>{source.doc_name}: {source.content}</li>)}</ol>
        </form>
    );
}

const kbId = new URLSearchParams(location.search).get("kb_id")!;
createRoot(document.getElementById("root")!).render(<StrictMode><Chat kbId={kbId} /></StrictMode>);
