"""The names of documents: what Dify can store, and that no upload overwrites a document unless it should.

Dify overwrites a document that has the name of an uploaded file (tests/contract/README.md, 13), and its list shows a
new name only after it has answered the upload. So an upload claims its name first, for as long as it looks the name up
and uploads the file: two uploads that look at the same moment would find the same name free.
"""

import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from time import monotonic
from typing import Any

from ..dify.file_names import SPECIAL
from ..errors import DifyError, DocumentArchived, DocumentBusy, DocumentNameTaken, ValidationFailed
from ..extensions import dify
from ..languages import Sentence, shown
from ..monitoring import tracing
from ..presenters.document import RUN_OF_STATUS
from ..storage.name_claims import comparable_name
from .name_claims import name_claims
from .paging import DIFY_MAX_LIMIT

Json = dict[str, Any]

REPLACEMENT = "_"

QUESTION_MARKS = Sentence(
    "it has question marks, which a client sends in place of letters that its encoding lacks. The client should send"
    " UTF-8: for Spring's RestTemplate, call setMultipartCharset(StandardCharsets.UTF_8) of its"
    " FormHttpMessageConverter; for Apache HttpClient, use the mode EXTENDED"
)
"""What a warning says of such a name."""

MAX_LENGTH = 200
"""Dify leaves a name of this many characters as it is. Of a longer one it keeps this many characters before the first
dot, and the extension in lower case (tests/contract/README.md, 16)."""

MAX_NUMBER_LENGTH = 8
"""Characters that we keep free for the number in `name(1).txt`, brackets included."""

BUSY_WAIT_S, FIRST_BUSY_PAUSE_S = 15.0, 0.1
"""Seconds for which an upload waits for the document that it replaces, and until it looks for the second time."""

SHOWN = 80
"""Characters of a name that a warning shows."""


def stored_name(filename: str, takes_special: Callable[[], bool]) -> str:
    """The name under which a file is stored: without folders, in the form NFC, and with `_` for each character that
    this Dify does not take. If `_` is used, or the name is cut, the answer has a warning.

    :param filename: as the client sent it. Some browsers send the full path.
    :param takes_special: whether Dify takes one of :data:`.SPECIAL`. It is called if the name has one
    :raises ValidationFailed: it has no name
    """
    sent = unicodedata.normalize("NFC", filename.replace("\\", "/").rpartition("/")[2]).strip()
    if sent.strip(".") == "":
        raise ValidationFailed(
            Sentence(
                "file must have a name, such as report.pdf; its filename is '{filename}'.",
                filename=shown(filename, SHOWN),
            )
        )
    name = "".join(REPLACEMENT if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in sent)
    if has_special(name) and not takes_special():
        name = without_special(name)
    elif "?" in name:
        tracing.current().warn(
            Sentence("The file name '{name}' may be wrong: {reason}.", name=shown(name, SHOWN), reason=QUESTION_MARKS)
        )
    if name != sent:
        _warn_of_replacement(sent, name)
    cut = _cut(name)
    if cut != name:
        tracing.current().warn(
            Sentence(
                "The file name has {count} characters, and Dify stores {max_length} and the extension; it was cut"
                " to '{cut}'.",
                count=len(name),
                max_length=MAX_LENGTH,
                cut=shown(cut, SHOWN),
            )
        )
    return cut


def has_special(name: str) -> bool:
    """Whether a name has a character that only some versions of Dify take."""
    return not SPECIAL.isdisjoint(name)


def without_special(name: str) -> str:
    """A name with `_` for each character that only some versions of Dify take."""
    return "".join(REPLACEMENT if letter in SPECIAL else letter for letter in name)


def replaced_name(name: str) -> str:
    """What :func:`without_special` returns, with a warning: this Dify has refused the name."""
    _warn_of_replacement(name, without_special(name))
    return without_special(name)


def _warn_of_replacement(sent: str, name: str) -> None:
    reason = QUESTION_MARKS if "?" in sent else Sentence("it has characters that Dify does not store")
    tracing.current().warn(
        Sentence(
            "The file name '{sent}' is stored as '{name}': {reason}.",
            sent=shown(sent, SHOWN),
            name=shown(name, SHOWN),
            reason=reason,
        )
    )


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


def has_lost_letters(filename: str) -> bool:
    """Whether a file name, as the client sent it, may have question marks in place of letters. Then files of several
    names arrive under one: Spring's RestTemplate sends `??.txt` for `水厂.txt` and for `报告.txt`."""
    return "?" in filename


@contextmanager
def claimed_name(kb_id: str, name: str, on_duplicate: str, *, is_uncertain: bool = False) -> Iterator[str]:
    """Claim the name under which a file may be uploaded, for the time of the block. The block gets that name.

    Queries: one to claim the name, and one to release it. If another upload has claimed the name or a document has it,
    two more, and a few more for each of many uploads of one name at once.

    :param name: what :func:`stored_name` has returned
    :param on_duplicate: `rename`: if the kb has the name, or another upload uses it now, the file gets the name
        `name(1).txt` and so on, as in RAGFlow. `reject`: the file is refused then. `replace`: the upload waits for
        other uploads of the name to end, so that the last one wins, and for Dify to have indexed the document of the
        name. A disabled document of the name is deleted after the block, because Dify replaces only an enabled one.
    :param is_uncertain: whether the name :func:`has_lost_letters`. `replace` works as `rename` then, and the answer has
        a warning: the document of this name may be another file
    :raises DocumentBusy: Dify does not get to the end of the document that is to be replaced
    :raises DocumentArchived: the document that is to be replaced is archived
    :raises DocumentNameTaken: the name is used, and `on_duplicate` is `reject`
    :raises DocumentUploadRunning: another upload of the name does not end
    """
    if on_duplicate == "replace" and not is_uncertain:
        with name_claims.held(kb_id, name):
            disabled = await_replaceable(kb_id, name)
            yield name
            delete_replaced(kb_id, disabled)
        return
    claim = name_claims.take_unless_same(kb_id, name)
    if claim is None:
        if on_duplicate == "reject":
            raise DocumentNameTaken(
                Sentence(
                    "Another upload of a document named '{name}' is running in the knowledge base; on_duplicate may"
                    " be rename or replace.",
                    name=name,
                )
            )
    else:
        with name_claims.released_at_end(claim):
            if not is_used(kb_id, name):
                yield name
                return
        if on_duplicate == "reject":
            raise DocumentNameTaken(
                Sentence(
                    "The knowledge base has a document named '{name}' already; on_duplicate may be rename or"
                    " replace.",
                    name=name,
                )
            )
    with _numbered_name(kb_id, name) as numbered:
        if on_duplicate == "replace":
            tracing.current().warn(
                Sentence(
                    "The file is stored as '{numbered}' and replaces no document: the question marks in its name"
                    " may stand for any letters.",
                    numbered=shown(numbered, SHOWN),
                )
            )
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


def await_replaceable(kb_id: str, name: str) -> list[str]:
    """Wait until Dify has indexed the document of this name: if a document is replaced before, its old and its new
    chunks are mixed.

    Upstream calls: one, and one more after each pause.

    :returns: the ids of the documents of this name, if all are disabled. Dify does not replace a disabled document
        (tests/contract/README.md, 13) but adds a second one
    :raises DocumentBusy: it is not indexed after BUSY_WAIT_S
    :raises DocumentArchived: it is archived. Dify would replace it, and no search would find it
    """
    ends_at, pause = monotonic() + BUSY_WAIT_S, FIRST_BUSY_PAUSE_S
    while True:
        documents = list(documents_named(kb_id, name))
        same = [document for document in documents if document["name"] == name]
        if any(document.get("archived") for document in same):
            raise DocumentArchived(name)
        if not any(_is_being_indexed(document) for document in documents):
            break
        if monotonic() >= ends_at:
            raise DocumentBusy(
                Sentence(
                    "Dify is still indexing the document '{name}'. If it were replaced now, it would have old and"
                    " new chunks at once; nothing was uploaded. Try again when document/list shows the run 3.",
                    name=name,
                ),
                retry_after=10,
            )
        time.sleep(pause)
        pause *= 1.5
    return [] if any(document.get("enabled", True) for document in same) else [document["id"] for document in same]


def _is_being_indexed(document: Json) -> bool:
    return bool(document.get("enabled", True)) and RUN_OF_STATUS.get(document.get("indexing_status") or "", "3") in "01"


def delete_replaced(kb_id: str, document_ids: list[str]) -> None:
    """Delete the disabled documents in whose place an upload has come. If that fails, a warning says so."""
    for document_id in document_ids:
        try:
            dify.knowledge.delete_document(kb_id, document_id)
        except DifyError as error:
            tracing.current().warn(
                Sentence(
                    "The disabled document {document_id}, which has the name of the uploaded one, could not be"
                    " deleted: {reason}",
                    document_id=document_id,
                    reason=error.message,
                )
            )


def is_used(kb_id: str, name: str) -> bool:
    """Whether a document of the kb has this name, or one that Dify may take for equal."""
    return any(True for _ in documents_named(kb_id, name))


def documents_named(kb_id: str, name: str) -> Iterator[Json]:
    """Read the kb's documents that have this name, or one that Dify may take for equal."""
    wanted = comparable_name(name)
    return (document for document in documents_containing(kb_id, name) if comparable_name(document["name"]) == wanted)


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
