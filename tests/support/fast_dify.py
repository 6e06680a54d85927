"""A Dify that is as fast as it can be: it takes uploads, gives out a file, and streams all tokens of an answer at once.

It runs in a process of its own, because it would otherwise slow down the test that measures:

    python -m tests.support.fast_dify PORT

`GET /uploads` tells how many uploads have arrived completely.
"""

import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

from route_api.parent_process import end_with_parent

MB = 1024 * 1024
ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
IDS = {"conversation_id": ID, "message_id": ID, "task_id": ID, "id": ID, "created_at": 1735689600}
CREATED = {
    "document": {"id": ID, "name": "a.bin", "created_at": 1735689600, "indexing_status": "waiting", "enabled": True},
    "batch": "20250101000000000000",
}
NO_DOCUMENTS = {"data": [], "has_more": False, "limit": 100, "total": 0, "page": 1}

uploads = 0


def head(kind: str, framing: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nX-Version: 1.12.1\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n".encode()


def json_answer(value: Any, status: str = "200 OK") -> bytes:
    body = json.dumps(value).encode()
    return head("application/json", f"Content-Length: {len(body)}", status) + body


def events(tokens: int) -> Iterator[dict[str, Any]]:
    for _ in range(tokens):
        yield {"event": "message", "answer": "知识", **IDS}
    yield {"event": "message_end", "metadata": {"usage": {"total_tokens": tokens}}, **IDS}


def stream(tokens: int) -> bytes:
    chunks = [f"data: {json.dumps(event)}\n\n".encode() for event in events(tokens)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head("text/event-stream", "Transfer-Encoding: chunked") + framed + b"0\r\n\r\n"


def answer(path: str, body: bytes) -> Iterator[bytes]:
    """The answer to a request. `n=5` in a question asks for five tokens; a document's id gives its size in MB."""
    global uploads
    if path.endswith("/create-by-file"):
        uploads += 1
        yield json_answer(CREATED)
    elif path == "/uploads":
        yield json_answer(uploads)
    elif path.startswith("/files/"):
        size = int(path.split("/")[2])
        yield head("application/octet-stream", f"Content-Length: {size * MB}")
        for _ in range(size):
            yield bytes(MB)
    elif path.endswith("/download"):
        address = f"/files/{int(path.split('/')[-2][-12:])}"
        yield json_answer({"id": ID, "name": "a.bin", "url": address, "download_url": address})
    elif path.endswith("/chat-messages"):
        asked = re.search(rb"n=(\d+)", body)
        yield stream(int(asked[1]) if asked else 3)
    elif "/documents" in path:
        yield json_answer(NO_DOCUMENTS)
    elif path.startswith("/v1/parameters"):
        yield json_answer({"user_input_form": [], "file_upload": {"enabled": False}})
    elif path.startswith("/v1/info"):
        yield json_answer({"name": "fast", "mode": "chat"})
    else:
        yield json_answer({"code": "not_found", "message": "no", "status": 404}, "404 NOT FOUND")


def serve(connection: socket.socket) -> None:
    """Answer the requests of a connection. Only the bodies of questions are kept."""
    data, buffer = b"", bytearray(4 * MB)
    with connection:
        while True:
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            lines, _, data = data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", lines)
            missing = (int(length[1]) if length else 0) - len(data)
            body, data = data, b""
            while missing > 0:
                size = connection.recv_into(buffer, min(missing, len(buffer)))
                if not size:
                    return
                missing -= size
                body = (body + bytes(buffer[:size])) if len(body) < MB else body
            if b"chunked" in lines.lower():
                while not body.endswith(b"\r\n0\r\n\r\n"):
                    size = connection.recv_into(buffer)
                    if not size:
                        return
                    body = body[-10:] + bytes(buffer[:size])
            for piece in answer(lines.split()[1].decode().partition("?")[0], body):
                connection.sendall(piece)


def main() -> None:
    end_with_parent()

    def serve_until_closed(connection: socket.socket) -> None:
        try:
            serve(connection)
        except OSError:
            return  # The gateway has closed or reset the connection.

    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=256) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve_until_closed, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
