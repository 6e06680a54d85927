"""The saved answers of the Postman collection: real answers of a run, which another run is compared with.

`make postman-examples` saves the answers again whose status, type or fields have changed.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .newman import COLLECTION, Json, problems, replay, requests_of

KEPT_HEADERS = {"content-type", "content-disposition", "allow", "www-authenticate", "idempotent-replayed"}
MOST_ITEMS = 3
"""A saved answer has so many items of a list, and twice as many events of a stream."""

LONGEST_BODY = 20_000
"""Of a longer answer, in characters, or of one that is neither JSON nor a stream, the beginning is saved."""

BEGINNING = 1_000


def saved_answers(report: Json, base_url: str) -> dict[str, Json]:
    """The answers of a run by the names of their requests, as the collection saves them.

    Of a request that was repeated, it is the last one.

    :param report: newman's report
    :param base_url: the address that the run asked; the saved answers have that of `make serve` instead
    """
    address = "{0.scheme}://{0.netloc}".format(urlsplit(base_url))
    return {
        step["item"]["name"]: _saved(step["response"], address)
        for step in report["run"]["executions"]
        if "response" in step
    }


def form(answer: Json) -> tuple[int, str, frozenset[str]]:
    """What a saved answer and a new one have in common as long as the saved one is true: status, type and fields."""
    type_ = content_type(answer)
    body = answer["body"]
    if type_ == "text/event-stream":
        events = [json.loads(line.removeprefix("data: ")) for line in body.split("\n") if line.startswith("data: ")]
        return answer["code"], type_, fields(events)
    is_whole = type_ == "application/json" and not body.endswith("…")
    return answer["code"], type_, fields(json.loads(body)) if is_whole else frozenset()


def content_type(answer: Json) -> str:
    """The type of a saved answer, without its parameters."""
    return next(h["value"] for h in answer["header"] if h["key"].lower() == "content-type").partition(";")[0]


def fields(value: Any, path: str = "") -> frozenset[str]:
    """The paths of all fields, for example `data.kbs.id`; those of a list are those of its items."""
    if isinstance(value, list):
        return frozenset().union(*(fields(item, path) for item in value))
    if not isinstance(value, dict):
        return frozenset()
    names = {f"{path}{name}" for name in value}
    return frozenset(names).union(*(fields(inner, f"{path}{name}.") for name, inner in value.items()))


def _saved(response: Json, address: str) -> Json:
    headers = [
        {"key": header["key"], "value": header["value"]}
        for header in response["header"]
        if header["key"].lower() in KEPT_HEADERS
    ]
    answer = {
        "name": f"{response['code']} {response['status']}",
        "status": response["status"],
        "code": response["code"],
        "header": headers,
        "cookie": [],
    }
    raw = bytes(response["stream"]["data"])
    type_ = content_type(answer)
    if type_ == "application/zip":
        return {**answer, "_postman_previewlanguage": "text", "body": "(a zip)"}
    text = raw.decode().replace(address, "http://127.0.0.1:8000")
    if type_ == "text/event-stream":
        events = text.strip().split("\n\n")
        kept = events[:MOST_ITEMS] + events[MOST_ITEMS:][-MOST_ITEMS:]
        return {**answer, "_postman_previewlanguage": "text", "body": "\n\n".join(kept) + "\n\n"}
    if type_ == "application/json" and len(text) < LONGEST_BODY:
        body = json.dumps(_shortened(json.loads(text)), ensure_ascii=False, indent=4)
        return {**answer, "_postman_previewlanguage": "json", "body": body}
    return {**answer, "_postman_previewlanguage": "text", "body": text[:BEGINNING] + ("…" if text[BEGINNING:] else "")}


def _shortened(value: Any) -> Any:
    """The answer with short lists, without a secret and without a folder of the machine on which it was made."""
    if isinstance(value, list):
        return [_shortened(item) for item in value[:MOST_ITEMS]]
    if not isinstance(value, dict):
        return value
    shown = {"token": lambda _: "…", "file_path": lambda path: re.sub(r".*(?=/qa/)", "/srv/downloads", path)}
    return {name: shown[name](inner) if name in shown else _shortened(inner) for name, inner in value.items()}


def main(base_url: str, api_key: str = "") -> None:
    """Run the collection, and save the answers that differ in form from the saved ones."""
    with tempfile.TemporaryDirectory() as folder:
        report = replay(base_url, Path(folder), api_key=api_key)
    if wrong := problems(report):
        sys.exit("\n".join(["Nothing is saved, because the run has problems:", *wrong]))
    collection: Json = json.loads(COLLECTION.read_text(encoding="utf-8"))
    answers = saved_answers(report, base_url)
    for request in requests_of(collection):
        new = answers[request["name"]]
        if [form(old) for old in request["response"]] != [form(new)]:
            asked = {name: value for name, value in request["request"].items() if name != "description"}
            request["response"] = [{**new, "originalRequest": asked}]
            print(f"saved: {request['name']}")
    COLLECTION.write_text(json.dumps(collection, ensure_ascii=False, indent="\t") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
