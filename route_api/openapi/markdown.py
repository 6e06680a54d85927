"""Writes the API reference, `docs/api.md`, from the OpenAPI document and the error classes. Pure functions."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import DIFY_ERRORS
from .document import ANY_ERRORS, CALLER_ERRORS, INPUT_ERRORS, INTRODUCTION, known_errors

Json = dict[str, Any]

DIFY_CODES = tuple(error.code for error in DIFY_ERRORS)
COMMON_CODES = {*ANY_ERRORS, *CALLER_ERRORS, *INPUT_ERRORS, *DIFY_CODES}


def _codes(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes)


HEAD = f"""# API reference

Written by `make docs` from the code; do not edit. `GET /openapi.json` has the same for programs. `GET /docs` shows it
in a browser, where each endpoint can be tried out.

{INTRODUCTION}

"Errors" lists the errors of one endpoint. These errors are not repeated there: any endpoint may answer
{_codes(ANY_ERRORS)};
one that needs credentials: {_codes(CALLER_ERRORS)};
one with parameters: {_codes(INPUT_ERRORS)};
one that calls Dify: {_codes(DIFY_CODES)}.
The table at the end explains them.
"""


def api_reference(spec: Json) -> str:
    """The whole reference as Markdown.

    :param spec: the OpenAPI document
    """
    parts = [HEAD]
    tag = None
    for path, operations in spec["paths"].items():
        verbs = [verb.upper() for verb in operations if verb in ("get", "post", "delete", "patch")]
        operation = next(operations[verb.lower()] for verb in verbs)
        if operation["tags"] != tag:
            tag = operation["tags"]
            parts.append(f"## {tag[0]}\n")
        parts += [f"### {' / '.join(verbs)} {path}\n", operation["summary"]]
        parts += [
            operation.get("description", ""),
            *_parameters(operation, operations, spec),
            *_answer(operation),
            *_failures(operation),
        ]
    parts += ["## Errors\n", _errors()]
    return "\n".join(part.rstrip() + "\n" for part in parts if part)


def _parameters(operation: Json, operations: Json, spec: Json) -> Iterator[str]:
    rows = [_row(entry["name"], entry["schema"], entry) for entry in operation.get("parameters", [])]
    rows += [_row(entry["name"], entry["schema"], entry) for entry in operations.get("parameters", [])]
    for body in operation.get("requestBody", {}).get("content", {}).values():
        schema = _resolved(body["schema"], spec)
        for part in schema.get("allOf", [schema]):
            whole = _resolved(part, spec)
            required = whole.get("required", [])
            for name, field in whole.get("properties", {}).items():
                rows.append(_row(name, field, {"required": name in required, **field}))
    if rows:
        yield "\n".join(["| parameter | type | | meaning |", "|---|---|---|---|", *dict.fromkeys(rows)])


def _row(name: str, schema: Json, about: Json) -> str:
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = next(entry for entry in kind if entry != "null")
    if schema.get("format") == "uuid":
        kind = "UUID"
    if "enum" in schema:
        kind = ", ".join(f"`{choice}`" for choice in schema["enum"] if choice is not None)
    limits = [f"{schema[key]} {word}" for key, word in LIMITS.items() if key in schema]
    if kind == "array":
        kind = f"list of {_item_type(schema)}"
    default = schema.get("default")
    need = "required" if about.get("required") else f"default `{json.dumps(default)}`" if default is not None else ""
    meaning = about.get("description") or schema.get("description") or ""
    return f"| `{name}` | {'; '.join([kind, *limits])} | {need} | {meaning} |"


LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "maxLength": "characters at most",
    "maxItems": "items at most",
}


def _item_type(schema: Json) -> str:
    items = schema.get("items", {})
    kind = {"uuid": "UUIDs", "binary": "files"}.get(items.get("format", ""))
    return kind or f"{items.get('type', 'value')}s"


def _answer(operation: Json) -> Iterator[str]:
    for media_type, content in operation["responses"]["200"]["content"].items():
        if media_type == "application/json":
            yield f"```json\n{json.dumps(content['example'], ensure_ascii=False, indent=2)}\n```"
        elif media_type == "text/event-stream":
            yield f"With `streaming`, as events:\n\n```\n{content['example'].strip()}\n```"


def _failures(operation: Json) -> Iterator[str]:
    by_status = []
    for status, response in operation["responses"].items():
        codes = response.get("content", {}).get("application/json", {}).get("examples", {}).keys() - COMMON_CODES
        by_status += [f"{status} {_codes(sorted(codes))}"] if codes else []
    if by_status:
        yield f"Errors: {'; '.join(by_status)}."


def _resolved(schema: Json, spec: Json) -> Json:
    if "$ref" not in schema:
        return schema
    target: Json = spec["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return target


def _errors() -> str:
    rows = [f"| `{kind.code}` | {kind.status} | {kind.meaning} |" for kind in known_errors()]
    return "\n".join(["| `error` | HTTP | meaning |", "|---|---|---|", *rows])
