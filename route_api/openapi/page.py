"""What `/docs` shows: the OpenAPI document with one entry for each endpoint and folded errors, and the page's texts."""

import re
from collections.abc import Iterator
from html import escape
from typing import Any

from .translation import Translate

Json = dict[str, Any]

VERBS = ("get", "post", "delete", "patch")

PAGE_TEXTS = {
    "intro": "The ids in the examples are empty. With sample data they are filled in: the examples run as they are.",
    "create": "Create sample data",
    "creating": "Creating…",
    "created": "There is a knowledge base now, with a document and a conversation: the examples have their ids.",
    "remove": "Delete sample data",
    "removing": "Deleting…",
    "removed": "The sample data are deleted.",
    "authorize": "This gateway wants to know who calls: click Authorize first.",
    "noscript": "This page needs JavaScript.",
    "document": "The OpenAPI document",
}
"""The texts of the page around Swagger UI, by the names under which `docs.html` and `docs.js` look them up."""

SWAGGER_TEXTS = (
    "Authorize",
    "Available authorizations",
    "Cancel",
    "Clear",
    "Close",
    "Code",
    "Controls",
    "header.",
    "Curl",
    "Description",
    "Details",
    "Download",
    "Edit Value",
    "Example Value",
    "Examples",
    "Examples:",
    "Execute",
    "Filter by tag",
    "Links",
    "Loading...",
    "Login",
    "Logout",
    "Media type",
    "Name",
    "No links",
    "No parameters",
    "Parameter content type",
    "Parameters",
    "Request URL",
    "Request body",
    "Request duration",
    "Reset",
    "Response body",
    "Response content type",
    "Response headers",
    "Responses",
    "Schema",
    "Send empty value",
    "Server response",
    "Servers",
    "Try it out",
    "Undocumented",
    "Value:",
)
"""The words of Swagger UI itself, which knows English only. `docs.js` replaces them on a Chinese page."""

ALSO = "Also answers to {verbs}, with the same parameters."


def page_texts(translate: Translate) -> Json:
    """The texts of the page, and those of Swagger UI that differ in the page's language."""
    labels = {text: translate(text) for text in SWAGGER_TEXTS}
    return {
        **{name: translate(text) for name, text in PAGE_TEXTS.items()},
        "labels": {text: translated for text, translated in labels.items() if translated != text},
    }


def document_for_page(document: Json, translate: Translate) -> Json:
    """The OpenAPI document as the page shows it. Programs get the whole one.

    :param document: in the language of the page
    :param translate: into this language
    """
    paths: Json = {}
    shown: dict[str, Json] = {}
    for path, item in document["paths"].items():
        verb, *others = [verb for verb in item if verb in VERBS]
        operation = {**item[verb], "responses": _folded(item[verb]["responses"], translate)}
        without_id = {key: value for key, value in operation.items() if key != "operationId"}
        for other_spelling in [other for other, same in shown.items() if same == without_id]:
            del paths[other_spelling]  # create-by-file; the API document has create_by_file.
        shown[path] = without_id
        operation["summary"] = operation["summary"].replace("`", "")  # Swagger UI shows it as it is.
        if others:
            also = translate(ALSO).format(verbs=", ".join(other.upper() for other in others))
            operation["description"] = f"{operation.get('description', '')}\n\n{also}".strip()
        paths[path] = {**{key: value for key, value in item.items() if key not in VERBS}, verb: operation}
    components = {key: value for key, value in document["components"].items() if key != "examples"}
    return {**document, "paths": paths, "components": components}


def _folded(responses: Json, translate: Translate) -> Json:
    """The responses, with all errors in one that the reader can unfold."""
    errors = [status for status in responses if status >= "4"]
    successes = {status: response for status, response in responses.items() if status not in errors}
    if not errors:
        return successes
    entries = "".join(_entries(errors, responses))
    summary = translate("Errors: {errors}.").format(errors=", ".join(errors))
    return {
        **successes,
        "default": {"description": f"<details><summary>{summary}</summary><ul>{entries}</ul></details>"},
    }


def _entries(errors: list[str], responses: Json) -> Iterator[str]:
    for status in errors:
        for line in responses[status]["description"].splitlines():
            text = re.sub("`([^`]+)`", r"<code>\1</code>", escape(line.removeprefix("- ")))
            yield f"<li>{status} {text}</li>"
