"""One file, one blueprint, per resource: the first segment of a path names the file."""

from . import chunk, conversation, datasets, document, health, kb, llm, user

BLUEPRINTS = [
    kb.blueprint,
    document.blueprint,
    chunk.blueprint,
    datasets.blueprint,
    conversation.blueprint,
    llm.blueprint,
    user.blueprint,
    health.blueprint,
]
