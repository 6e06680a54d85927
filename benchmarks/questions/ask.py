#!/usr/bin/env python3
"""Measure what the search finds and the model answers: 60 questions over 12 documents, each with one right passage.

    .venv/bin/python benchmarks/questions/ask.py                                    # starts a gateway with its sandbox
    .venv/bin/python benchmarks/questions/ask.py --url http://127.0.0.1:8000/v1     # asks a running gateway

The script uploads `documents/` into two knowledge bases (the questions and answers into one of their own), asks each
question of `questions.csv` with each search method, prints a table, and deletes the knowledge bases. A cell shows for
how many questions the right passage was the first one, and for how many it was among the first three. The last column
shows how many answers of the chat contain the right fact.

`tuning.csv` has 24 other questions. The search was adjusted with these, and never with the 60.
"""

import argparse
import csv
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import requests

HERE = Path(__file__).resolve().parent
PROJECT_DIR = HERE.parent.parent
QA_DOCUMENT = "会员问答.csv"
METHODS = ("semantic_search", "full_text_search", "hybrid_search")
START_S, INDEXING_S = 60, 600
"""The longest that the gateway may take to start, and the documents to be indexed."""


class Gateway:
    """Calls a gateway."""

    def __init__(self, url, key):
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"

    def call(self, method, path, **options):
        """Return the field `data` of the answer. A failure ends the script with the gateway's message."""
        answer = self._session.request(method, f"{self._url}/{path}", timeout=300, **options).json()
        if answer["code"] != 0:
            sys.exit(f"{path}: {answer['message']}")
        return answer["data"]

    @contextmanager
    def knowledge_base(self, documents, **form):
        """Create a knowledge base, index the documents, and delete it at the end of the `with` block. Yield its id."""
        kb_id = self.call("POST", "kb/create", json={"name": f"questions {time.time():.6f}"})["kb_id"]
        try:
            for path in documents:
                data = {"kb_id": kb_id, "separator": "\n", **form}
                self.call("POST", "document/upload", data=data, files={"file": (path.name, path.read_bytes())})
            self._wait_until_indexed(kb_id)
            yield kb_id
        finally:
            self.call("POST", "kb/rm", json={"kb_id": kb_id})

    def _wait_until_indexed(self, kb_id):
        began = time.monotonic()
        while time.monotonic() - began < INDEXING_S:
            documents = self.call("GET", "document/list", params={"kb_id": kb_id, "page_size": 100})["docs"]
            if failed := [document for document in documents if document["run"] == "4"]:
                sys.exit(f"{failed[0]['name']}: {failed[0]['progress_msg']}")
            if all(document["run"] == "3" for document in documents):
                return
            time.sleep(0.5)
        sys.exit(f"the documents were not indexed within {INDEXING_S} seconds")

    def rank(self, kb_id, question, method):
        """Return the place of the right passage, 0 for the first, or None if it was not among the first three."""
        body = {"kb_id": kb_id, "question": question["question"], "search_method": method, "top_k": 3}
        chunks = self.call("POST", "chunk/retrieval_test", json=body)["chunks"]
        texts = [f"{chunk['content_with_weight']}\n{chunk.get('answer') or ''}" for chunk in chunks]
        return next((place for place, text in enumerate(texts) if question["passage"] in text), None)

    def answer(self, kb_id, question):
        """Return the chat's answer, without its thinking."""
        body = {"user_id": "questions", "kb_id": kb_id, "message": question["question"], "streaming": False}
        return self.call("POST", "conversation/completion_db", json=body)["content"]


@contextmanager
def running_gateway():
    """Start a gateway with a sandbox that knows nothing yet. Yield its URL."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        environment = {
            **os.environ,
            "PORT": str(port),
            "DIFY_BASE_URL": "",
            "DATABASE_URL": f"sqlite:///{folder}/questions.sqlite3",
            "SANDBOX_DATA_DIR": f"{folder}/sandbox",
            "SANDBOX_PORT": "0",
            "DOWNLOAD_ROOT": f"{folder}/downloads",
            "RATE_LIMIT": "0",
            "LOG_LEVEL": "WARNING",
        }
        with open(f"{folder}/log", "w") as log:
            command = [sys.executable, "-m", "route_api"]
            process = subprocess.Popen(command, cwd=PROJECT_DIR, env=environment, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(process, url, Path(folder, "log"))
            yield f"{url}/v1"
        finally:
            process.terminate()
            process.wait(40)


def wait_until_ready(process, url, log):
    """Wait until the gateway answers."""
    began = time.monotonic()
    while time.monotonic() - began < START_S and process.poll() is None:
        try:
            if requests.get(f"{url}/readyz", timeout=5).ok:
                return
        except (requests.ConnectionError, requests.Timeout):
            time.sleep(0.2)
    sys.exit(f"the gateway did not start:\n{log.read_text()[-2000:]}")


def ask_all(gateway, questions, details):
    """Ask all questions. Return how often each column of the table was right, for each kind and column."""
    documents = sorted((HERE / "documents").iterdir())
    texts = [path for path in documents if path.name != QA_DOCUMENT]
    right = Counter()
    with (
        gateway.knowledge_base(texts) as texts_kb,
        gateway.knowledge_base([HERE / "documents" / QA_DOCUMENT], doc_form="qa_model") as qa_kb,
    ):
        for question in questions:
            kind, kb_id = question["kind"], qa_kb if question["document"] == QA_DOCUMENT else texts_kb
            for method in METHODS:
                place = gateway.rank(kb_id, question, method)
                right[kind, method, "first"] += place == 0
                right[kind, method, "third"] += place is not None
                if details and place != 0:
                    print(f"{method}: {question['question']} → {'not found' if place is None else place + 1}")
            answer = gateway.answer(kb_id, question)
            right[kind, "answer"] += question["fact"] in answer
            if details and question["fact"] not in answer:
                print(f"answer: {question['question']} ({question['fact']}) → {answer}")
    return right


def table(right, questions):
    """Write the figures as a table in Markdown."""
    count = Counter(question["kind"] for question in questions)
    lines = [
        "| kind | questions | " + " | ".join(method.removesuffix("_search") for method in METHODS) + " | answer |",
        "|---|---|" + "---|" * (len(METHODS) + 1),
    ]
    for name, kinds in [*((kind, [kind]) for kind in count), ("all", list(count))]:
        cells = [
            "{} / {}".format(*(sum(right[kind, method, place] for kind in kinds) for place in ("first", "third")))
            for method in METHODS
        ]
        answers = sum(right[kind, "answer"] for kind in kinds)
        total = sum(count[kind] for kind in kinds)
        lines.append(f"| {name} | {total} | {' | '.join(cells)} | {answers} |")
    return "\n".join(lines)


def main():
    """Ask the questions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="the URL of a running gateway, with /v1; by default the script starts one")
    parser.add_argument("--key", default="", help="the API key of that gateway")
    parser.add_argument("--questions", default="questions.csv", help="a file in this folder; default: questions.csv")
    parser.add_argument("--details", action="store_true", help="also print each question that was not answered right")
    arguments = parser.parse_args()
    with open(HERE / arguments.questions, encoding="utf-8", newline="") as file:
        questions = list(csv.DictReader(file))
    if arguments.url:
        right = ask_all(Gateway(arguments.url, arguments.key), questions, arguments.details)
    else:
        with running_gateway() as url:
            right = ask_all(Gateway(url, ""), questions, arguments.details)
    print(table(right, questions))


if __name__ == "__main__":
    main()
