"""Events arrive while the model still writes, through an nginx that compresses them, for clients in Python and in Node.

docs/deployment.md lists the proxies that were tried by hand.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ..support import deployment
from ..support.deployment import SERVICE_KEY, Deployment, Process, program
from ..support.patience import PATIENCE_S
from ..support.running_gateway import answers, free_port, session

pytestmark = pytest.mark.server
sandbox, site = deployment.sandbox, deployment.site

QUESTION = "葫芦庙在哪里？[[len:60]][[delay:50]]"

NODE_CLIENT = """
const [url, key, body] = process.argv.slice(1);
const headers = {"Content-Type": "application/json", "Authorization": `Bearer ${key}`};
const answer = await fetch(url, {method: "POST", headers, body});
console.log(`Content-Encoding: ${answer.headers.get("Content-Encoding")}`);
for await (const piece of answer.body) process.stdout.write(piece);
"""


class CompressingNginx(Process):
    """An nginx as a company may have in front of everything: it buffers as by default, and compresses event streams."""

    def __init__(self, folder: Path, upstream: str) -> None:
        self.port = free_port()
        temporary = "\n".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(f"""
            daemon off; worker_processes 1; pid nginx.pid; events {{}}
            http {{
                {temporary} access_log off;
                gzip on; gzip_proxied any; gzip_types application/json text/event-stream;
                server {{
                    listen 127.0.0.1:{self.port};
                    location / {{ proxy_pass {upstream}; proxy_set_header Host 127.0.0.1; }}
                }}
            }}
        """)
        command = [program("setpriv"), "--pdeathsig", "TERM", program("nginx"), "-p", str(folder), "-c", "nginx.conf"]
        super().__init__("compressing-nginx", [*command, "-e", "error.log"], folder)

    def is_up(self) -> bool:
        return answers(f"http://127.0.0.1:{self.port}/v1/healthz")


@pytest.fixture(params=["the gateway", "deploy/nginx.conf"])
def proxy(request: pytest.FixtureRequest, site: Deployment, tmp_path: Path) -> Iterator[str]:
    """The base URL of a compressing nginx in front of this."""
    behind = site.gateways[0].base if request.param == "the gateway" else site.base
    nginx = CompressingNginx(tmp_path, behind.removesuffix("/v1"))
    nginx.start()
    yield f"http://127.0.0.1:{nginx.port}/v1"
    nginx.stop()


def lines_in_python(url: str, body: dict[str, Any]) -> Iterator[str]:
    with session(SERVICE_KEY).post(url, json=body, stream=True, timeout=PATIENCE_S) as answer:
        yield f"Content-Encoding: {answer.headers['Content-Encoding']}"
        yield from answer.iter_lines(decode_unicode=True)


def lines_in_node(url: str, body: dict[str, Any]) -> Iterator[str]:
    command = [program("node"), "--input-type=module", "--eval", NODE_CLIENT, "--", url, SERVICE_KEY, json.dumps(body)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as node:
        assert node.stdout is not None
        yield from (line.rstrip("\n") for line in node.stdout)
    assert node.returncode == 0


@pytest.mark.parametrize("lines", [lines_in_python, lines_in_node])
def test_events_arrive_while_the_model_writes(
    site: Deployment, proxy: str, lines: Callable[[str, dict[str, Any]], Iterator[str]]
) -> None:
    received = lines(f"{proxy}/chat/chat", {"user_id": "alice", "message": QUESTION, "streaming": True})
    assert next(received) == "Content-Encoding: gzip"
    events = (json.loads(line.removeprefix("data:")) for line in received if line.startswith("data:"))
    first = next(events)["data"]
    assert status_of(site, first["message_id"]) == "pending"
    texts = [first["answer"]]
    for event in events:
        if "content" in event["data"]:
            break
        texts.append(event["data"]["answer"])
    assert "".join(texts) == event["data"]["answer"] and len(texts) > 20
    assert [event["data"] for event in events] == [True]
    assert status_of(site, first["message_id"]) == "done"


def status_of(site: Deployment, message_id: str) -> str:
    answer: requests.Response = session(SERVICE_KEY).get(
        f"{site.gateways[0].base}/message/get",
        params={"user_id": "alice", "message_id": message_id},
        timeout=PATIENCE_S,
    )
    return str(answer.json()["data"]["status"])
