"""What depends on Dify's version: one line of `flask dify check` for each capability.

docs/migration.md, "Dify's versions", has the whole list for callers. What is said since 1.14.2 was seen on a live
server of that version, not recorded; versions between it and 1.12.1 were not asked.
"""

from collections.abc import Iterator

from ..dify.versions import RECORDED, version_tuple
from ..languages import Sentence
from .finding import Finding, State

Version = tuple[int, ...]
Case = tuple[Version, State, Sentence]

CAPABILITIES: dict[Sentence, tuple[Case, ...]] = {
    Sentence("download without a login"): (
        ((), "works", Sentence("by the address of the uploaded file")),
        ((1, 12, 1), "optional", Sentence("not in this version: a document/download needs the console login")),
        ((1, 14, 2), "works", Sentence("Dify's service API hands out files")),
    ),
    Sentence("chatflows"): (
        ((), "works", Sentence("Dify's API carries them out")),
        ((1, 14, 2), "works", Sentence("Dify's worker carries them out, and tells what it refuses only in its log")),
        ((1, 16, 1), "works", Sentence("Dify's worker carries them out; after a stop their model runs on to its end")),
    ),
    Sentence("forms that a chatflow waits for"): (
        ((), "optional", Sentence("not in this version")),
        (
            (1, 14, 2),
            "works",
            Sentence("conversation/submit_form takes those for which Dify asks in the app's web page"),
        ),
    ),
    Sentence("apps of the kind agent"): (
        ((), "optional", Sentence("not in this version")),
        ((1, 16, 1), "works", Sentence("they take questions")),
    ),
    Sentence("reasoning beside the answer"): (
        ((), "optional", Sentence("not in this version: a separated reasoning is lost")),
        ((1, 14, 2), "works", Sentence("a separated reasoning is in the answer, between <think> and </think>")),
        ((1, 16, 1), "works", Sentence("Dify sends it")),
    ),
    Sentence("stop before the first word"): (
        ((), "works", Sentence("the turn ends at once; the model stops as soon as Dify names its task")),
        ((1, 16, 1), "works", Sentence("the turn and the model end at once")),
    ),
    Sentence("deletion of conversations"): (
        ((), "works", Sentence("Dify deletes any user's; the gateway checks the user")),
        ((1, 14, 2), "works", Sentence("Dify checks the user too")),
    ),
    Sentence("search in given documents"): (
        ((), "works", Sentence("Dify filters by name, the gateway by id")),
        (
            (1, 13, 3),
            "works",
            Sentence("this version may ignore the filter; the gateway asks for more and filters itself"),
        ),
        ((1, 14, 1), "works", Sentence("Dify filters by name, the gateway by id")),
    ),
    Sentence('file names with : * ? " < > |'): (
        ((), "optional", Sentence("Dify refuses them, so the gateway writes _ in their place")),
        (
            (1, 12, 2),
            "unknown",
            Sentence("not known of this version; the first document/upload of such a name shows it"),
        ),
        ((1, 14, 2), "works", Sentence("stored as they are")),
    ),
    Sentence("separators outside ASCII"): (
        ((), "works", Sentence("sent as they are")),
        (
            (1, 12, 1),
            "works",
            Sentence("sent as \\uXXXX; if the chunks of an upload show that Dify does not undo it, sent as they are"),
        ),
    ),
    Sentence("keys in Dify's lists"): (
        ((), "works", Sentence("shown in full")),
        (
            (1, 17, 0),
            "works",
            Sentence("masked: a key that .env lacks is made anew; DIFY_APP_IDS names apps that are not found"),
        ),
    ),
}
"""Each capability: since which version, the state, and the text. The last case that is not newer applies."""


def version_findings(version: str | None) -> Iterator[Finding]:
    """The lines for a version.

    :param version: as Dify gives it
    """
    name = Sentence("Dify's version")
    numbers = version_tuple(version)
    newest = max(RECORDED)
    if numbers in RECORDED:
        text = Sentence("{version} was recorded, and the tests know its answers", version=version)
        yield Finding(name, "works", text)
    elif numbers > newest:
        text = Sentence(
            "{version} is newer than all versions that were recorded; its differences were read in its code",
            version=version,
        )
        yield Finding(name, "unknown", text)
    else:
        older = max((known for known in RECORDED if known < numbers), default=RECORDED[0])
        text = Sentence(
            "{version} was not recorded; where nothing is known of it, the gateway takes it for {older}",
            version=version,
            older=".".join(map(str, older)),
        )
        yield Finding(name, "unknown", text)
    for capability, cases in CAPABILITIES.items():
        _, state, text = [case for case in cases if case[0] <= numbers][-1]
        yield Finding(capability, state, text)
