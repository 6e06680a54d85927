"""The service API's routes for speech. The sandbox has no model for it and refuses as a Dify without one."""

import uuid
from typing import Any, NoReturn

from flask import Blueprint, Response, g, jsonify, request

from ..apps.app_access import require_app
from ..apps.app_table import config_of
from ..errors import SandboxError
from ..request_fields import RequestFields
from ..store import current_store
from ..version import is_1_16
from .attached_files import AUDIO_EXTENSIONS

MAX_AUDIO_MB = 30

blueprint = Blueprint("audio", __name__)


def _no_model(model_type: str) -> SandboxError:
    return SandboxError(400, "provider_not_initialize", f"Default model not found for {model_type}")


@blueprint.post("/v1/audio-to-text")
@require_app("form")
def audio_to_text() -> NoReturn:
    """Refuse to transcribe: the app does not enable it, the file is no audio or too large, or there is no model."""
    upload = request.files["file"]
    if not config_of(g.app)["speech_to_text"].get("enabled"):
        if is_1_16():
            raise SandboxError(400, "speech_to_text_disabled", "Speech to text is disabled.")
        raise SandboxError(400, "invalid_param", "Speech to text is not enabled")
    if upload.mimetype not in {f"audio/{extension}" for extension in AUDIO_EXTENSIONS}:
        raise SandboxError(415, "unsupported_audio_type", "Audio type not allowed.")
    if len(upload.stream.read(MAX_AUDIO_MB * 1024 * 1024 + 1)) > MAX_AUDIO_MB * 1024 * 1024:
        raise SandboxError(413, "audio_too_large", f"Audio size larger than {MAX_AUDIO_MB} mb")
    raise _no_model("speech2text")


@blueprint.post("/v1/text-to-audio")
@require_app("json, optional")
def text_to_audio() -> Response:
    """Refuse to speak: the app does not enable it, there is no text, or there is no model.

    For a message that the app does not have, or whose id is no UUID, Dify answers null.
    """
    body = RequestFields("TextToAudioPayload", request.get_json())
    message_id, text, voice = (body.optional_text(name) for name in ("message_id", "text", "voice"))
    if message_id and not _has_answer(message_id):
        return jsonify(None)
    if not message_id and text is None:
        raise SandboxError(400, "invalid_param", "Text is required")
    if voice is None and not config_of(g.app)["text_to_speech"].get("enabled"):
        raise SandboxError(400, "invalid_param", "TTS is not enabled")
    raise _no_model("tts")


def _has_answer(message_id: str) -> bool:
    try:
        values: tuple[Any, ...] = (str(uuid.UUID(message_id)), g.app["id"])
    except ValueError:
        return False
    sql = (
        "SELECT answer FROM message JOIN conversation ON conversation.id = conversation_id"
        " WHERE message.id = ? AND app_id = ? AND answer <> ''"
    )
    return current_store().connection().execute(sql, values).fetchone() is not None
