"""Makes the types of the JavaScript client: `clients/javascript/schema.d.ts`, with openapi-typescript, from the OpenAPI
document. `python -m tests.support.client_types` writes the file."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from config import Config
from route_api.app import create_app

from .databases import absent
from .patience import PATIENCE_S
from .settings import OPEN

Json = dict[str, Any]

CLIENT = Path(__file__).parents[2] / "clients" / "javascript"
TYPES = CLIENT / "schema.d.ts"
PROGRAMS = CLIENT / "node_modules" / ".bin"
NOT_FOR_CLIENTS = {"console", "console_name", "docs", "docs_name", "datasets_document_create_by_file_dashed"}
"""Pages for people, and a second spelling of a path."""


def require_client_tools() -> None:
    """Skip the test if the tools of the client are not installed; fail it where all programs are required."""
    if not (PROGRAMS / "tsc").exists():
        absent("TypeScript is not installed; `make client-tools` does it, given npm")


def openapi_document() -> Json:
    """The OpenAPI document of an application of its own."""
    document: Json = create_app(Config.load(**OPEN, DATABASE_URL="sqlite://")).test_client().get("/openapi.json").json
    return document


def operations_of_client(document: Json) -> dict[str, tuple[str, str]]:
    """The HTTP method and the path of each operation that is a method of the client, by the operation's id."""
    return {
        operation["operationId"]: (verb.upper(), path)
        for path, operations in document["paths"].items()
        for verb, operation in operations.items()
        if verb == "post" or "post" not in operations and verb != "parameters"
        if operation["operationId"] not in NOT_FOR_CLIENTS
    }


def for_types(document: Json) -> Json:
    """The part of the document from which the types are made: each method of the client, with its success alone."""
    paths: Json = {}
    for verb, path in operations_of_client(document).values():
        operations = document["paths"][path]
        success = {"200": operations[verb.lower()]["responses"]["200"]}
        operation = {**operations[verb.lower()], "responses": success, "description": ""}
        paths[path] = {verb.lower(): operation, "parameters": operations.get("parameters", [])}
    types: Json = without_examples(
        {**document, "paths": paths, "components": {"schemas": document["components"]["schemas"]}}
    )
    return types


def without_examples(value: Any) -> Any:
    """The same JSON without the examples of OpenAPI."""
    if isinstance(value, dict):
        return {name: without_examples(each) for name, each in value.items() if name not in ("example", "examples")}
    return [without_examples(each) for each in value] if isinstance(value, list) else value


def endpoints(document: Json) -> str:
    """The interface of the methods, with the operation of each one. An editor shows its comments."""
    lines = ["/** The operation of each method. */", "export interface Endpoints {"]
    for name, (verb, path) in operations_of_client(document).items():
        summary = document["paths"][path][verb.lower()]["summary"].replace("*/", "* /")
        lines += [f"    /** {summary} `{path.strip('/')}` of docs/api.md. */", f'    {camel(name)}: "{name}";']
    return "\n".join([*lines, "}", ""])


def camel(operation_id: str) -> str:
    """The name of an operation's method."""
    first, *words = operation_id.split("_")
    return first + "".join(word.capitalize() for word in words)


def client_types() -> str:
    """The text of schema.d.ts."""
    document = openapi_document()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "openapi.json", Path(folder) / "schema.d.ts"
        source.write_text(json.dumps(for_types(document)), encoding="utf-8")
        command = [str(PROGRAMS / "openapi-typescript"), str(source), "--output", str(target)]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
        return target.read_text(encoding="utf-8") + endpoints(document)


if __name__ == "__main__":
    TYPES.write_text(client_types(), encoding="utf-8")
