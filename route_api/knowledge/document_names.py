"""The names of documents: what Dify can store, and that no upload overwrites a document unless it should.

Dify overwrites a document that has the name of an uploaded file (tests/contract/README.md, 13), and its list shows a
new name only after it has answered the upload. So an upload claims its name first, for as long as it looks the name up
and uploads the file: two uploads that look at the same moment would find the same name free.
"""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from ..errors import DocumentNameTaken, ValidationFailed
from ..extensions import dify
from ..monitoring import tracing
from ..storage.name_claims import comparable_name
from .name_claims import name_claims
from .paging import DIFY_MAX_LIMIT

Json = dict[str, Any]

FORBIDDEN_CHARACTERS = '/\\:*?"<>|'
"""Dify refuses a file name with one of these (tests/contract/README.md, 16)."""

REPLACEMENT = "_"

MAX_LENGTH = 200
"""Dify leaves a name of this many characters as it is. Of a longer one it keeps this many characters before the first
dot, and the extension in lower case (tests/contract/README.md, 16)."""

MAX_NUMBER_LENGTH = 8
"""Characters that we keep free for the number in `name(1).txt`, brackets included."""

SHOWN = 80
"""Characters of a name that a warning shows."""


def stored_name(filename: str) -> str:
    """The name under which a file is stored: without folders, in the form NFC, and with `_` for each character that
    Dify refuses. If `_` is used, or the name is cut, the answer has a warning.

    :param filename: as the client sent it. Some browsers send the full path.
    :raises ValidationFailed: it has no name
    """
    sent = unicodedata.normalize("NFC", filename.replace("\\", "/").rpartition("/")[2]).strip()
    if sent.strip(".") == "":
        raise ValidationFailed(f"file must have a name, such as report.pdf; its filename is '{_shown(filename)}'.")
    name = "".join(REPLACEMENT if _is_refused(character) else character for character in sent)
    if name != sent:
        _warn_of_replacement(sent, name)
    cut = _cut(name)
    if cut != name:
        tracing.current().warn(
            f"The file name has {len(name)} characters, and Dify stores {MAX_LENGTH} and the extension; it was cut to"
            f" '{_shown(cut)}'."
        )
    return cut


def _is_refused(character: str) -> bool:
    return character in FORBIDDEN_CHARACTERS or unicodedata.category(character) in ("Cc", "Cs")


def _warn_of_replacement(sent: str, name: str) -> None:
    reason = "it has characters that Dify does not store"
    if "?" in sent:
        reason = (
            "it has question marks, which a client sends in place of letters that its encoding lacks. The client should"
            " send UTF-8: for Spring's RestTemplate, call setMultipartCharset(StandardCharsets.UTF_8) of its"
            " FormHttpMessageConverter; for Apache HttpClient, use the mode EXTENDED"
        )
    tracing.current().warn(f"The file name '{_shown(sent)}' is stored as '{_shown(name)}': {reason}.")


def _shown(name: str) -> str:
    one_line = "".join(character if character.isprintable() else "\ufffd" for character in name)
    return one_line if len(one_line) <= SHOWN else one_line[:SHOWN] + "…"


def split_extension(name: str) -> tuple[str, str]:
    """The stem of a name, and its extension with the dot. The extension is empty without a dot."""
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem else (name, "")


def _cut(name: str) -> str:
    """A name that is too long, as Dify would cut it: otherwise we would compare another name than Dify stores.

    If there is a dot before the extension, the name is cut so short that Dify leaves it as it is. Dify itself would
    keep only what is before the first dot: `1.2 Overview ….txt` and `1.3 Outlook ….txt` would both become `1.txt`.
    """
    if len(name) <= MAX_LENGTH:
        return name
    stem, extension = split_extension(name)
    if "." not in stem:
        return stem[:MAX_LENGTH] + extension.lower()
    extension = extension[: MAX_LENGTH // 2]
    return stem[: MAX_LENGTH - len(extension)] + extension


def numbered_stem(name: str) -> str:
    """The stem of a name, cut so far that a number fits behind it."""
    stem, extension = split_extension(name)
    return stem[: max(1, MAX_LENGTH - MAX_NUMBER_LENGTH - len(extension))]


@contextmanager
def claimed_name(kb_id: str, name: str, on_duplicate: str) -> Iterator[str]:
    """Claim the name under which a file may be uploaded, for the time of the block. The block gets that name.

    Queries: one to claim the name, and one to release it. If another upload has claimed the name or a document has it,
    two more, and a few more for each of many uploads of one name at once.

    :param name: what :func:`stored_name` has returned
    :param on_duplicate: `rename`: if the kb has the name, or another upload uses it now, the file gets the name
        `name(1).txt` and so on, as in RAGFlow. `reject`: the file is refused then. `replace`: the upload waits for
        other uploads of the name to end, so that the last one wins.
    :raises DocumentNameTaken: the name is used, and `on_duplicate` is `reject`
    :raises DocumentUploadRunning: another upload of the name does not end
    """
    if on_duplicate == "replace":
        with name_claims.held(kb_id, name):
            yield name
        return
    claim = name_claims.take_unless_same(kb_id, name)
    if claim is None:
        if on_duplicate == "reject":
            raise DocumentNameTaken(
                f"Another upload of a document named '{name}' is running in the knowledge base; on_duplicate may be"
                " rename or replace."
            )
    else:
        with name_claims.released_at_end(claim):
            if not is_used(kb_id, name):
                yield name
                return
        if on_duplicate == "reject":
            raise DocumentNameTaken(
                f"The knowledge base has a document named '{name}' already; on_duplicate may be rename or replace."
            )
    with _numbered_name(kb_id, name) as numbered:
        yield numbered


@contextmanager
def _numbered_name(kb_id: str, name: str) -> Iterator[str]:
    """Claim the first of `name(1).txt`, `name(2).txt` and so on that no document and no upload has."""
    stem, extension = numbered_stem(name), split_extension(name)[1]
    used: set[str] = set()
    while True:
        numbered = (f"{stem}({number}){extension}" for number in count(1))
        free = (candidate for candidate in numbered if comparable_name(candidate) not in used)
        claim, candidate = name_claims.take_first(kb_id, free)
        with name_claims.released_at_end(claim):
            # Looked up now, because the upload that used this number before may just have ended.
            used = {comparable_name(document["name"]) for document in documents_containing(kb_id, f"{stem}(")}
            if comparable_name(candidate) not in used:
                yield candidate
                return


def is_used(kb_id: str, name: str) -> bool:
    """Whether a document of the kb has this name, or one that Dify may take for equal."""
    wanted = comparable_name(name)
    return any(comparable_name(document["name"]) == wanted for document in documents_containing(kb_id, name))


def documents_containing(kb_id: str, text: str) -> Iterator[Json]:
    """Read the kb's documents whose names contain `text`.

    Other documents may come too, because `%` and `_` in `text` are wildcards for Dify.
    """
    page, total = 1, 1
    while (page - 1) * DIFY_MAX_LIMIT < total:
        answer = dify.knowledge.list_documents(kb_id, page, DIFY_MAX_LIMIT, text)
        total = answer["total"]
        yield from answer["data"]
        if not answer["data"]:  # The list has become shorter meanwhile.
            break
        page += 1
