"""The state of the sandbox in which a recorded case of the chat and console half is replayed."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from route_api.sandbox.version import VERSIONS

from .sandbox_chat import MODEL, PROMPT, PROVIDER, VARIABLES, Sandbox, form

CONTRACT = Path(__file__).parents[1] / "contract"
AREAS = ("auth", "chat", "debugger", "general", "inputs", "models", "provisioning")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NOBODYS_IDS = ("00000000-0000-4000-8000-000000000000", "11111111-2222-4333-8444-555555555555")
ALL_CASES = {
    version: [
        f"{area}/{path.stem}" for area in AREAS for path in sorted((CONTRACT / f"dify-{version}" / area).glob("*.json"))
    ]
    for version in VERSIONS
}
"""The cases of these areas, of each version that the sandbox follows."""

Json = Any


def recorded(version: str, case: str) -> dict[str, Any]:
    """A recording."""
    return json.loads((CONTRACT / f"dify-{version}" / f"{case}.json").read_text())


@dataclass
class Scene:
    """The state in which a case is replayed, and how its request is changed to fit it."""

    sandbox: Sandbox
    case: str
    request: dict[str, Any]
    app_id: str = ""
    key: str = ""
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The case without its area."""
        return self.case.split("/")[1]

    @property
    def user(self) -> str:
        """The user that the request names."""
        body, query = self.request["body"], self.request["query"] or {}
        return (body.get("user") if isinstance(body, dict) else None) or query.get("user") or "DEFAULT-USER"

    def path_id(self, after: str) -> str:
        """The recorded id that follows a segment of the path, "" if there is none."""
        found = re.search(rf"/{after}/({UUID.pattern})", self.request["path"])
        return found[1] if found else ""


def app_config(case: str) -> dict[str, Any]:
    """The configuration of the app that the case was recorded with."""
    name = case.split("/")[1]
    changes: dict[str, dict[str, dict[str, Any]]] = {
        "required-missing": {"instructions": {"required": True}},
        "required-empty": {"instructions": {"required": True}},
        "max-length-over": {"instructions": {"max_length": 10}},
        "max-length-exact": {"instructions": {"max_length": 10}},
        "max-length-0": {"context": {"max_length": 0}},
        "max-length-huge": {"context": {"max_length": 1_000_000_000}},
    }
    if case.startswith("inputs/") or name == "parameters-with-variables" or "with-variables" in name:
        declared = {variable: changes.get(name, {}).get(variable, {}) for variable in VARIABLES}
        return {"pre_prompt": PROMPT, "user_input_form": form(**declared)}
    return {}


def arrange(sandbox: Sandbox, case: str) -> Scene:
    """Bring the sandbox into the state that the case needs."""
    scene = Scene(sandbox, case, recorded(sandbox.version, case)["request"])
    if case.startswith(("chat/", "inputs/", "debugger/", "provisioning/")):
        scene.app_id, scene.key = sandbox.make_app(**app_config(case))
        recorded_app = scene.path_id("apps")
        if recorded_app not in NOBODYS_IDS:
            scene.ids[recorded_app] = scene.app_id
    arrange_conversation(scene)
    SPECIAL.get(case, lambda scene: None)(scene)
    return scene


def arrange_conversation(scene: Scene) -> None:
    """Give the user of the request the conversation and messages that it names."""
    body = scene.request["body"] if isinstance(scene.request["body"], dict) else {}
    query = scene.request["query"] or {}
    conversation = (
        body.get("conversation_id")
        or query.get("conversation_id")
        or scene.path_id("conversations")
        or scene.path_id("chat-conversations")
    )
    message = scene.path_id("messages") or scene.path_id("chat-messages")
    is_anothers = re.search("^(?!conversation-after).*other-user|no-user|user-in-query|no-body", scene.name)
    user = "alice" if is_anothers else scene.user
    if conversation in NOBODYS_IDS or message in NOBODYS_IDS or not (conversation or message):
        return
    if scene.case.startswith("debugger/"):
        inputs = body.get("inputs", {})
        turns = [scene.sandbox.debug(scene.app_id, inputs=inputs)]
        scene.ids[body.get("parent_message_id") or ""] = turns[0]["message_id"]
    else:
        turns = [scene.sandbox.ask("第一问", key=scene.key, user=user)]
        for question in ("第二问", "第三问") if scene.name.startswith("messages") else ():
            conversation_id = turns[0]["conversation_id"]
            turns.append(scene.sandbox.ask(question, scene.key, user=user, conversation_id=conversation_id))
        like(scene, turns[0]["message_id"], user)
    scene.ids[conversation or ""] = turns[0]["conversation_id"]
    scene.ids[message] = turns[0]["message_id"]
    if query.get("first_id") not in (None, *NOBODYS_IDS):
        scene.ids[query["first_id"]] = turns[-1]["message_id"]


def like(scene: Scene, message_id: str, user: str) -> None:
    """Give a message its feedback."""
    body = {"rating": "like", "user": user}
    answer = scene.sandbox.service("POST", f"/messages/{message_id}/feedbacks", scene.key, json=body)
    assert answer.status_code == 200


def several_conversations(scene: Scene) -> None:
    """Six conversations of the user, or of another if it shall be a new one; `last_id` is the newest."""
    user = "alice" if scene.name == "conversations-new-user" else scene.user
    turns = [scene.sandbox.ask(f"第{number}问", scene.key, user=user) for number in range(6)]
    last_id = (scene.request["query"] or {}).get("last_id", "")
    if last_id not in NOBODYS_IDS:
        scene.ids[last_id] = turns[-1]["conversation_id"]


def one_conversation(scene: Scene) -> None:
    """The user's only conversation."""
    scene.sandbox.ask("第一问", scene.key, user=scene.user, inputs={"instructions": "i", "context": "c", "history": ""})


def deleted_conversation(scene: Scene, by: str = "") -> None:
    """Its conversation is gone."""
    conversation_ids = [
        row["id"] for row in scene.sandbox.service("GET", f"/conversations?user={scene.user}", scene.key).json["data"]
    ]
    assert conversation_ids
    for conversation_id in conversation_ids:
        scene.sandbox.service("DELETE", f"/conversations/{conversation_id}", scene.key, json={"user": by or scene.user})


def conversation_deleted_by_another(scene: Scene) -> None:
    """Another user has tried to delete it, which 1.12.1 does."""
    deleted_conversation(scene, by="mallory")


def other_apps_conversation(scene: Scene) -> None:
    """The conversation belongs to another app."""
    scene.key = scene.sandbox.make_app()[1]


def no_feedback(scene: Scene) -> None:
    """There is no feedback to withdraw."""
    message_id = scene.ids[scene.path_id("messages")]
    body = {"rating": None, "user": "alice"}
    scene.sandbox.service("POST", f"/messages/{message_id}/feedbacks", scene.key, json=body)


def closed_api(scene: Scene) -> None:
    """The app's service API is switched off."""
    scene.sandbox.console("POST", f"/apps/{scene.app_id}/api-enable", json={"enable_api": False})


def deleted_app(scene: Scene) -> None:
    """The app is gone."""
    assert scene.sandbox.console("DELETE", f"/apps/{scene.app_id}").status_code == 204


def stricter_form_later(scene: Scene) -> None:
    """The form became stricter after the conversation had begun."""
    declared = {variable: {"required": True} for variable in VARIABLES}
    body = {"model": MODEL, "pre_prompt": PROMPT, "user_input_form": form(**declared)}
    assert scene.sandbox.console("POST", f"/apps/{scene.app_id}/model-config", json=body).status_code == 200


def console_conversation_of_service(scene: Scene) -> None:
    """The conversation was made in the debugger."""
    scene.ids[scene.request["body"]["conversation_id"]] = scene.sandbox.debug(scene.app_id)["conversation_id"]


def app_key_of_path(scene: Scene) -> None:
    """The app has a key with the id that the path names."""
    keys = scene.sandbox.console("GET", f"/apps/{scene.app_id}/api-keys").json["data"]
    scene.ids[scene.path_id("api-keys")] = keys[0]["id"]


def dataset_key_of_path(scene: Scene) -> None:
    """There is a dataset key with the id that the path names."""
    scene.ids[scene.path_id("api-keys")] = scene.sandbox.console("POST", "/datasets/api-keys").json["id"]


def ten_dataset_keys(scene: Scene) -> None:
    """There are as many dataset keys as there may be."""
    while len(scene.sandbox.console("GET", "/datasets/api-keys").json["data"]) < 10:
        scene.sandbox.console("POST", "/datasets/api-keys")


def no_dataset_key(scene: Scene) -> None:
    """There is no dataset key."""
    for key in scene.sandbox.console("GET", "/datasets/api-keys").json["data"]:
        scene.sandbox.console("DELETE", f"/datasets/api-keys/{key['id']}")


def no_account(scene: Scene) -> None:
    """The sandbox has not been set up."""
    with scene.sandbox.flask.app_context():
        scene.sandbox.flask.extensions["sandbox_store"].connection().execute("DELETE FROM account")


def fresh_app(scene: Scene) -> None:
    """The app is as it was made, without a configuration of its own."""
    body = {
        "name": "合同一",
        "mode": "chat",
        "icon_type": "emoji",
        "icon": "🤖",
        "icon_background": "#FFEAD5",
    }
    scene.ids[scene.path_id("apps")] = scene.sandbox.console("POST", "/apps", json=body).json["id"]


def many_apps(scene: Scene) -> None:
    """Three apps of the name that is looked for, with variables."""
    for _ in range(2):
        scene.sandbox.make_app(**app_config("provisioning/app-list-with-variables"))


def waiting_is_short(scene: Scene) -> None:
    """The recorded wait, a hundred times shorter, and so is the silence before a ping."""
    scene.request["body"]["query"] = re.sub(r"\[\[first:\d+\]\]", "[[first:120]]", scene.request["body"]["query"])
    if scene.name == "streaming-ping":
        scene.sandbox.flask.config["SANDBOX_PING_AFTER_S"] = 0.02


def app_with_dataset(scene: Scene) -> None:
    """The app has a dataset."""
    bound = {"dataset": {"enabled": True, "id": scene.sandbox.make_dataset()}}
    settings = {"retrieval_model": "multiple", "top_k": 4, "datasets": {"datasets": [bound]}}
    scene.key = scene.sandbox.make_app(dataset_configs=settings)[1]


def override_with_dataset(scene: Scene) -> None:
    """The dataset that the request names exists."""
    bound = scene.request["body"]["model_config"]["dataset_configs"]["datasets"]["datasets"][0]["dataset"]
    scene.ids[bound["id"]] = scene.sandbox.make_dataset()


SPECIAL: dict[str, Callable[[Scene], None]] = {
    **{case: several_conversations for case in ALL_CASES["1.12.1"] if case.startswith("chat/conversations")},
    **{
        f"debugger/override-dataset-{name}": override_with_dataset
        for name in ("multiple", "multiple-no-weights", "single")
    },
    "chat/app-api-disabled": closed_api,
    "chat/app-deleted": deleted_app,
    "chat/blocking-app-with-dataset": app_with_dataset,
    "chat/conversation-after-delete-by-other-user": conversation_deleted_by_another,
    "chat/conversation-delete-again": deleted_conversation,
    "chat/conversation-deleted": deleted_conversation,
    "chat/conversation-of-other-app": other_apps_conversation,
    "chat/feedback-null-again": no_feedback,
    "chat/streaming-app-with-dataset": app_with_dataset,
    "chat/streaming-ping": waiting_is_short,
    "chat/streaming-slow-first-token": waiting_is_short,
    "debugger/service-cannot-continue": console_conversation_of_service,
    "inputs/conversations-show-inputs": one_conversation,
    "inputs/existing-conversation-after-config-change": stricter_form_later,
    "provisioning/app-api-key-delete": app_key_of_path,
    "provisioning/app-get-fresh": fresh_app,
    "provisioning/app-list": many_apps,
    "provisioning/app-list-name": many_apps,
    "provisioning/dataset-api-key-delete": dataset_key_of_path,
    "provisioning/dataset-api-key-limit": ten_dataset_keys,
    "provisioning/empty-dataset-keys": no_dataset_key,
    "provisioning/empty-login": no_account,
    "provisioning/empty-setup": no_account,
    "provisioning/empty-setup-status": no_account,
    "provisioning/empty-setup-weak-password": no_account,
}


def fitted(scene: Scene, value: Json) -> Json:
    """A recorded value with our ids, our models and our password instead of the recorded ones."""
    if isinstance(value, dict):
        return {name: fitted(scene, item) for name, item in value.items()}
    if isinstance(value, list):
        return [fitted(scene, item) for item in value]
    if not isinstance(value, str):
        return value
    credentials = scene.sandbox.credentials
    generated = re.fullmatch(r"<(\d+) characters>", value)
    if generated:
        return "长" * int(generated[1])
    replacements = {
        "<console-email>": credentials["DIFY_CONSOLE_EMAIL"],
        "<console-password>": credentials["DIFY_CONSOLE_PASSWORD"],
        "owner@example.com": credentials["DIFY_CONSOLE_EMAIL"],
        "langgenius/ollama/ollama": PROVIDER,
        "qwen3:4b": "sandbox-extractive",
        "mistral:latest": "sandbox-extractive-brief",
        "bge-m3:latest": "sandbox-bm25",
    }
    for old, new in replacements.items():
        value = value.replace(old, new)
    if "<console-password, base64>" in value:
        return base64.b64encode(credentials["DIFY_CONSOLE_PASSWORD"].encode()).decode()
    if value == "ollama":
        return "sandbox"
    return UUID.sub(lambda match: scene.ids.get(match[0], match[0]), value)
