"""One file, one blueprint, per resource: the first segment of a path names the file."""

from . import chat, chunk, conversation, datasets, docs, document, health, kb, llm, message, prompt, user

BLUEPRINTS = [
    kb.blueprint,
    document.blueprint,
    chunk.blueprint,
    datasets.blueprint,
    conversation.blueprint,
    chat.blueprint,
    message.blueprint,
    prompt.blueprint,
    llm.blueprint,
    user.blueprint,
    health.blueprint,
    docs.blueprint,
]
