"""Writes the API reference, `docs/api.md`, from the OpenAPI document and the error classes. Pure functions."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import DIFY_ERRORS
from .document import ANY_ERRORS, CALLER_ERRORS, ID_PATTERN, INPUT_ERRORS, INTRODUCTION, known_errors
from .translation import Translate, in_blocks

Json = dict[str, Any]

DIFY_CODES = tuple(error.code for error in DIFY_ERRORS)
COMMON_CODES = {*ANY_ERRORS, *CALLER_ERRORS, *INPUT_ERRORS, *DIFY_CODES}


def _codes(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes)


HEAD = f"""# API reference

[中文](api.zh.md)

Written by `make docs` from the code; do not edit. `GET /openapi.json` has the same for programs. `GET /docs` shows it
in a browser, where each endpoint can be tried out.

{INTRODUCTION}
"""

COMMON_ERRORS = """"Errors" lists the errors of one endpoint. These errors are not repeated there: any endpoint may
answer {any};
one that needs credentials: {callers};
one with parameters: {input};
one that calls Dify: {dify}.
The table at the end explains them."""


def api_reference(spec: Json, translate: Translate = str) -> str:
    """The whole reference as Markdown.

    :param spec: the OpenAPI document, in the language of the reference
    :param translate: puts the texts of this module into that language
    """
    codes = {"any": ANY_ERRORS, "callers": CALLER_ERRORS, "input": INPUT_ERRORS, "dify": DIFY_CODES}
    common = in_blocks(COMMON_ERRORS, translate).format(**{name: _codes(each) for name, each in codes.items()})
    parts = [in_blocks(HEAD, translate) + "\n", common + "\n"]
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
            *_parameters(operation, operations, spec, translate),
            *_answer(operation, translate),
            *_failures(operation, translate),
        ]
    parts += [f"## {translate('Errors')}\n", _errors(translate)]
    return "\n".join(part.rstrip() + "\n" for part in parts if part)


def _parameters(operation: Json, operations: Json, spec: Json, translate: Translate) -> Iterator[str]:
    rows = [_row(entry["name"], entry["schema"], entry, translate) for entry in operation.get("parameters", [])]
    rows += [_row(entry["name"], entry["schema"], entry, translate) for entry in operations.get("parameters", [])]
    for body in operation.get("requestBody", {}).get("content", {}).values():
        schema = _resolved(body["schema"], spec)
        for part in schema.get("allOf", [schema]):
            whole = _resolved(part, spec)
            required = whole.get("required", [])
            for name, field in whole.get("properties", {}).items():
                rows.append(_row(name, field, {"required": name in required, **field}, translate))
    if rows:
        head = f"| {translate('parameter')} | {translate('type')} | | {translate('meaning')} |"
        yield "\n".join([head, "|---|---|---|---|", *dict.fromkeys(rows)])


def _row(name: str, schema: Json, about: Json, translate: Translate) -> str:
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = next(entry for entry in kind if entry != "null")
    if schema.get("pattern") == ID_PATTERN:
        kind = "UUID"
    if "enum" in schema:
        kind = ", ".join(f"`{choice}`" for choice in schema["enum"] if choice is not None)
    elif kind == "array":
        kind = translate(f"list of {_item_type(schema)}")
    else:
        kind = translate(kind)
    limits = [translate(words).format(limit=schema[key]) for key, words in LIMITS.items() if key in schema]
    need, default = "", schema.get("default")
    if about.get("required"):
        need = translate("required")
    elif default is not None:
        need = translate("default `{value}`").format(value=json.dumps(default))
    meaning = about.get("description") or schema.get("description") or ""
    return f"| `{name}` | {'; '.join([kind, *limits])} | {need} | {meaning} |"


LIMITS = {
    "minimum": "{limit} at least",
    "maximum": "{limit} at most",
    "maxLength": "{limit} characters at most",
    "maxItems": "{limit} items at most",
}


def _item_type(schema: Json) -> str:
    items = schema.get("items", {})
    if items.get("pattern") == ID_PATTERN:
        return "UUIDs"
    return "files" if items.get("format") == "binary" else f"{items.get('type', 'value')}s"


def _answer(operation: Json, translate: Translate) -> Iterator[str]:
    for media_type, content in operation["responses"]["200"]["content"].items():
        if media_type == "application/json":
            yield f"```json\n{json.dumps(content['example'], ensure_ascii=False, indent=2)}\n```"
        elif media_type == "text/event-stream":
            events = {name: example["value"] for name, example in content["examples"].items()}
            plain = {name: body for name, body in events.items() if name.startswith("data_")}
            named = {name: body for name, body in events.items() if name not in plain}
            yield f"{translate('With `streaming`, as events:')}\n\n{_events(plain, '')}"
            words = translate("With `streaming` and `stream_mode` `events`:")
            yield f"{words}\n\n{_events(named, 'event: {}')}"


def _events(events: Json, head: str) -> str:
    """The events of a stream, as they are sent."""
    blocks = [f"{head.format(name)}\ndata: {json.dumps(body, ensure_ascii=False)}" for name, body in events.items()]
    return "```\n" + "\n\n".join(block.strip() for block in blocks) + "\n```"


def _failures(operation: Json, translate: Translate) -> Iterator[str]:
    by_status = []
    for status, response in operation["responses"].items():
        codes = response.get("content", {}).get("application/json", {}).get("examples", {}).keys() - COMMON_CODES
        by_status += [f"{status} {_codes(sorted(codes))}"] if codes else []
    if by_status:
        yield translate("Errors: {errors}.").format(errors="; ".join(by_status))


def _resolved(schema: Json, spec: Json) -> Json:
    if "$ref" not in schema:
        return schema
    target: Json = spec["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return target


def _errors(translate: Translate) -> str:
    rows = [f"| `{kind.code}` | {kind.status} | {translate(kind.meaning)} |" for kind in known_errors()]
    return "\n".join([f"| `error` | HTTP | {translate('meaning')} |", "|---|---|---|", *rows])
