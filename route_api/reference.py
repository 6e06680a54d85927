"""The API reference, `docs/api.md`, from the OpenAPI document and the error classes. Pure functions."""

import json
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

from .envelope import HTTP_ERROR_CODES
from .errors import ApiError

Json = dict[str, Any]

HEAD = """# API reference

Written by `make docs` from the code; do not edit. `GET /openapi.json` has the same for machines.

Every path answers with and without `/v1` before it. Parameters are taken from the query string, from a JSON object or
from a form, whatever the verb. Ids are UUIDs, with or without dashes. Every answer is in the envelope:

```json
{"code": 0, "data": {}, "message": "success", "elapsed_s": 0.0123}
{"code": -1, "data": null, "message": "…", "elapsed_s": 0.0123, "error": "kb_not_found", "request_id": "…"}
```

"Upstream calls" says how many calls to Dify an endpoint makes, and why where it is more than one.
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
            *_answer(operation, spec),
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
        kind = ", ".join(f"`{choice}`" for choice in schema["enum"])
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
    "minItems": "items at least",
    "maxItems": "items at most",
}


def _item_type(schema: Json) -> str:
    items = schema.get("items", {})
    kind = {"uuid": "UUIDs", "binary": "files"}.get(items.get("format", ""))
    return kind or f"{items.get('type', 'value')}s"


def _answer(operation: Json, spec: Json) -> Iterator[str]:
    content = operation["responses"]["200"].get("content", {}).get("application/json")
    if content and "schema" in content:
        example = json.dumps(_example(content["schema"], spec), ensure_ascii=False, indent=2)
        yield f"```json\n{example}\n```"


def _example(schema: Json, spec: Json) -> Any:
    """An answer put together again from the examples of its fields."""
    whole = _resolved(schema, spec)
    if "example" in whole:
        return whole["example"]
    if whole.get("type") == "array":
        return [_example(whole["items"], spec)]
    return {name: _example(field, spec) for name, field in whole.get("properties", {}).items()}


def _resolved(schema: Json, spec: Json) -> Json:
    if "$ref" not in schema:
        return schema
    target: Json = spec["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return target


def _errors() -> str:
    rows = {
        error.code: f"| `{error.code}` | {int(error.status)} | {cleandoc(error.__doc__ or '').splitlines()[0]} |"
        for error in _all_errors(ApiError)
    }
    for status, code in HTTP_ERROR_CODES.items():
        rows[code] = f"| `{code}` | {status} | Said by the server itself, before an endpoint is reached. |"
    return "\n".join(["| `error` | HTTP | meaning |", "|---|---|---|", *(rows[code] for code in sorted(rows))])


def _all_errors(base: type[ApiError]) -> Iterator[type[ApiError]]:
    yield base
    for child in base.__subclasses__():
        yield from _all_errors(child)
