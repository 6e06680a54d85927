"""A sandbox for the knowledge tests: set up with a dataset key and a console session, and with short methods."""

import io
import json
import time
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from route_api.sandbox.app import stop_indexing
from route_api.sandbox.embedding.embedder import Embedder
from route_api.sandbox.knowledge.indexer import Indexer
from route_api.sandbox.store import Store

from .patience import PATIENCE_S
from .sandbox_chat import Sandbox

RULE: dict[str, Any] = {
    "mode": "custom",
    "rules": {
        "pre_processing_rules": [
            {"id": "remove_extra_spaces", "enabled": True},
            {"id": "remove_urls_emails", "enabled": False},
        ],
        "segmentation": {"separator": "\n\n", "max_tokens": 500, "chunk_overlap": 50},
    },
}
CHAPTER = "\n\n".join(
    [
        "葫芦庙在姑苏城阊门外十里街的仁清巷内，因地方窄狭，人皆呼作葫芦庙。此庙年久失修。",
        "庙旁住着一家乡宦，姓甄，名费，字士隐，嫡妻封氏，性情贤淑，深明礼义，家中虽不甚富贵。",
        "甄士隐的女儿名英莲，年方三岁，每日观花种竹，酌酒吟诗，倒是神仙一流人物，只一件不足。",
        "贾雨村原系胡州人氏，也是诗书仕宦之族，寄居庙中，每日卖文作字为生，故士隐常与他交接。",
        "元宵佳节霍启抱了英莲去看社火花灯，因要小解，将英莲放在一家门槛上坐着，回来便不见了。",
    ]
)
SEMANTIC: dict[str, Any] = {
    "search_method": "semantic_search",
    "reranking_enable": False,
    "reranking_mode": None,
    "reranking_model": {"reranking_provider_name": "", "reranking_model_name": ""},
    "weights": None,
    "top_k": 5,
    "score_threshold_enabled": False,
    "score_threshold": 0.2,
}
FINAL = ("completed", "error", "paused")


class Knowledge:
    """A sandbox with a dataset key. A console session begins when it is needed."""

    def __init__(self, caller: Sandbox) -> None:
        self.caller = caller
        self.app: Flask = caller.flask
        self.key = caller.credentials["DIFY_DATASET_API_KEY"]

    def again(self, embedder: Embedder | None = None) -> "Knowledge":
        """Start another sandbox on the same data, as after a restart; it may have another model for vectors."""
        return Knowledge(Sandbox(self.caller.data_dir, self.caller.credentials, embedder=embedder))

    @property
    def store(self) -> Store:
        """The sandbox's store."""
        return self.app.extensions["sandbox_store"]

    @property
    def indexer(self) -> Indexer:
        """The sandbox's indexer."""
        return self.app.extensions["sandbox_indexer"]

    def stop(self) -> None:
        """End the background thread."""
        stop_indexing(self.app)

    def service(self, method: str, path: str, key: str = "", **more: Any) -> TestResponse:
        """Call the service API with the dataset key."""
        return self.caller.service(method, path, key=key or self.key, **more)

    def console(self, method: str, path: str, **more: Any) -> TestResponse:
        """Call the console in its session."""
        return self.caller.console(method, path, **more)

    def anonymous(self, method: str, path: str, **more: Any) -> TestResponse:
        """Make a call without credentials."""
        return self.caller.anonymous().open(path, method=method, **more)

    def create_dataset(self, name: str = "红楼梦", **fields: Any) -> str:
        """Create a dataset and return its id."""
        body = {"name": name, "indexing_technique": "high_quality", **fields}
        answer = self.service("POST", "/datasets", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json["id"]

    def post_file(self, dataset_id: str, name: str, content: str | bytes, **data: Any) -> TestResponse:
        """Upload a document and return the answer."""
        content = content.encode() if isinstance(content, str) else content
        form = {
            "data": json.dumps({"indexing_technique": "high_quality", "process_rule": RULE, **data}),
            "file": (io.BytesIO(content), name),
        }
        return self.service("POST", f"/datasets/{dataset_id}/document/create-by-file", data=form)

    def upload(self, dataset_id: str, name: str, content: str | bytes, **data: Any) -> str:
        """Upload a document, wait until its indexing has ended or failed, and return its id."""
        answer = self.post_file(dataset_id, name, content, **data)
        assert answer.status_code == 200, answer.text
        document_id = answer.json["document"]["id"]
        self.wait(dataset_id, document_id)
        return document_id

    def wait(self, dataset_id: str, document_id: str, seconds: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until the indexing of a document has ended, and return the document."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            document = self.document(dataset_id, document_id)
            if document["indexing_status"] in FINAL:
                return document
            time.sleep(0.005)
        raise AssertionError(f"still {document['indexing_status']} after {seconds} s")

    def document(self, dataset_id: str, document_id: str) -> dict[str, Any]:
        """One document."""
        return self.service("GET", f"/datasets/{dataset_id}/documents/{document_id}").json

    def segments(self, dataset_id: str, document_id: str) -> list[dict[str, Any]]:
        """The first hundred segments of a document."""
        path = f"/datasets/{dataset_id}/documents/{document_id}/segments"
        return self.service("GET", path, query_string={"limit": 100}).json["data"]

    def contents(self, dataset_id: str, document_id: str) -> list[str]:
        """The texts of the first hundred segments of a document."""
        return [segment["content"] for segment in self.segments(dataset_id, document_id)]

    def retrieve(self, dataset_id: str, query: str, **model: Any) -> list[dict[str, Any]]:
        """Retrieve with a question, and return the records."""
        body = {"query": query, "retrieval_model": {**SEMANTIC, **model}}
        answer = self.service("POST", f"/datasets/{dataset_id}/retrieve", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json["records"]

    def found(self, dataset_id: str, query: str, **model: Any) -> list[str]:
        """Retrieve with a question, and return the texts, the best first."""
        return [record["segment"]["content"] for record in self.retrieve(dataset_id, query, **model)]
