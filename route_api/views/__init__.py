"""The HTTP endpoints. Each first segment of a path has a file of that name with one blueprint."""

from . import chat, chunk, console, conversation, datasets, dify, docs, document, health, kb, llm, message, prompt, user

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
    dify.blueprint,
    docs.blueprint,
    console.blueprint,
]
