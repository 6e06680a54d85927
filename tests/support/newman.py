"""Runs the Postman collection with newman, as QA does."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .databases import absent
from .patience import PATIENCE_S

Json = dict[str, Any]

PROJECT_DIR = Path(__file__).parents[2]
POSTMAN = PROJECT_DIR / "postman"
NEWMAN = POSTMAN / "node_modules" / ".bin" / "newman"
COLLECTION = POSTMAN / "route-api.postman_collection.json"
QUESTIONS = POSTMAN / "questions.json"
SANDBOX = POSTMAN / "sandbox.postman_environment.json"


def require_newman() -> None:
    """Skip the test if newman is not installed; fail it where all programs are required."""
    if not NEWMAN.exists():
        absent("newman is not installed; `make newman` does it, given npm")


def replay(base_url: str, folder: Path, *options: str, **variables: str) -> Json:
    """Run the collection from its first request to its last and give back newman's report.

    :param base_url: where Route API answers, with or without nginx, with `/v1`
    :param folder: an empty folder for the report
    :param options: further options of `newman run`
    :param variables: further variables of the environment, `api_key` for example
    """
    report = folder / "newman.json"
    given = {"base_url": base_url, **variables}
    command = [str(NEWMAN), "run", str(COLLECTION), "--environment", str(SANDBOX), "--working-dir", str(PROJECT_DIR)]
    command += ["--reporters", "json", "--reporter-json-export", str(report), *options]
    command += [part for name, value in given.items() for part in ("--env-var", f"{name}={value}")]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert report.exists(), done.stdout + done.stderr
    answer: Json = json.loads(report.read_text(encoding="utf-8"))
    return answer


def requests_of(item: Json) -> Iterator[Json]:
    """The requests of a collection or of a folder, in their order."""
    for inner in item["item"]:
        yield from requests_of(inner) if "item" in inner else [inner]


def folder_of(collection: Json, name: str) -> Json:
    """The folder with this name."""
    (found,) = [folder for folder in collection["item"] if folder["name"] == name]
    return found


def scripts(item: Json, kind: str) -> str:
    """The scripts of a request, or the scripts that a collection runs for every request.

    :param kind: prerequest or test
    """
    return "\n".join(
        line for event in item.get("event", []) if event["listen"] == kind for line in event["script"]["exec"]
    )


def problems(report: Json, folder: str | None = None) -> list[str]:
    """The problems of a run, as texts: failures, and requests that were not sent or not tested.

    :param folder: the folder that was run; all of them by default
    """
    lines = [f"{failure['source']['name']}: {failure['error']['message']}" for failure in report["run"]["failures"]]
    collection = json.loads(COLLECTION.read_text(encoding="utf-8"))
    shared = tuple(re.findall(r'pm\.test\("([^"]+)"', scripts(collection, "test")))
    tested = {
        step["item"]["name"]
        for step in report["run"]["executions"]
        for test in step.get("assertions", [])
        if "response" in step and not test["skipped"] and not test["assertion"].startswith(shared)
    }
    for request in requests_of(folder_of(collection, folder) if folder else collection):
        if request["name"] not in tested:
            lines.append(f"{request['name']}: was not sent, or nothing of its answer was tested")
    return lines
