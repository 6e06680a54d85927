"""Many uploads of one name at once, over two gateways with two workers each, which share a database and a Dify."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import create_engine, text

from config import Config
from route_api.sandbox.gateway_settings import prepare_gateway_settings
from route_api.storage.models import utc_now

from ..support.patience import PATIENCE_S
from ..support.running_gateway import Gateway, wait_for

AT_ONCE = 8


@pytest.fixture(scope="module")
def hosts(class_and_database: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    """Two gateways. The first one has the sandbox, and the second one uses it as its Dify."""
    worker_class, database_url = class_and_database
    folders = [tmp_path_factory.mktemp("host") for _ in range(2)]
    settings = {"WORKER_CLASS": worker_class, "UPLOADS_PER_CALLER": "0"}
    first = Gateway(folders[0], database_url, **settings)
    first.start()
    keys = prepare_gateway_settings(folders[0] / "sandbox")
    address = f"http://127.0.0.1:{first.sandbox_port}"
    second = Gateway(folders[1], database_url, **{**keys, **settings, "DIFY_BASE_URL": address, "AUTH": "open"})
    second.start()
    yield [first, second]
    assert [second.stop(), first.stop()] == [0, 0]


def content(number: int) -> bytes:
    return (f"The secret word of project {number} is zebra{number}. " + f"{number} " * 50).encode()


def upload(gateway: Gateway, kb_id: str, name: str, body: bytes, **form: str) -> requests.Response:
    return requests.post(
        f"{gateway.base}/document/upload",
        data={"kb_id": kb_id, **form},
        files={"file": (name, body)},
        timeout=PATIENCE_S,
    )


def upload_raw(gateway: Gateway, kb_id: str, name: str, body: bytes) -> requests.Response:
    data = '{"indexing_technique": "high_quality", "process_rule": {"mode": "automatic"}}'
    url = f"{gateway.base}/datasets/{kb_id}/document/create_by_file"
    return requests.post(url, data={"data": data}, files={"file": (name, body)}, timeout=PATIENCE_S)


def at_once(hosts: list[Gateway], count: int, send: Any) -> list[requests.Response]:
    """Send many uploads at the same moment, to the hosts in turn."""
    gate = threading.Barrier(count)

    def one(number: int) -> requests.Response:
        gate.wait(PATIENCE_S)
        return send(hosts[number % len(hosts)], number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def documents(gateway: Gateway, kb_id: str) -> dict[str, bytes]:
    """The names of the kb's documents, and their contents."""
    rows = gateway.get("document/list", kb_id=kb_id, page_size=100)["data"]["docs"]
    found: dict[str, bytes] = {}
    for row in rows:
        ids = {"kb_id": kb_id, "document_id": row["id"]}
        found[row["name"]] = requests.get(f"{gateway.base}/document/download", params=ids, timeout=PATIENCE_S).content
    assert len(found) == len(rows)
    return found


def execute(gateway: Gateway, statement: str, **parameters: Any) -> int:
    engine = create_engine(Config.load(DATABASE_URL=gateway.database_url).database_uri)
    with engine.begin() as connection:
        result = connection.execute(text(statement), parameters)
        count = result.scalar() if result.returns_rows else result.rowcount
    engine.dispose()
    return int(count or 0)


def no_claims_are_left(gateway: Gateway) -> bool:
    return execute(gateway, "SELECT count(*) FROM name_claim") == 0


@pytest.mark.parametrize("count", [2, AT_ONCE, 50])
def test_with_rename_each_gets_a_name_and_every_content_is_kept(hosts: list[Gateway], count: int) -> None:
    kb_id = hosts[0].create_kb("rename")
    answers = at_once(hosts, count, lambda host, number: upload(host, kb_id, "README.md", content(number)))
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    kept = documents(hosts[0], kb_id)
    assert sorted(kept) == sorted(["README.md", *[f"README({number}).md" for number in range(1, count)]])
    assert set(kept.values()) == {content(number) for number in range(count)}
    for number, answer in enumerate(answers):
        assert kept[answer.json()["data"][0]["name"]] == content(number)
    assert no_claims_are_left(hosts[0])


def test_with_reject_one_is_taken_and_the_others_are_told(hosts: list[Gateway]) -> None:
    kb_id = hosts[0].create_kb("reject")
    answers = at_once(
        hosts, AT_ONCE, lambda host, number: upload(host, kb_id, "README.md", content(number), on_duplicate="reject")
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * (AT_ONCE - 1)
    assert {answer.json().get("error") for answer in answers} == {None, "document_name_taken"}
    (taken,) = [number for number, answer in enumerate(answers) if answer.ok]
    assert documents(hosts[0], kb_id) == {"README.md": content(taken)}


def test_with_replace_and_in_difys_own_form_they_follow_one_another_and_one_is_whole(hosts: list[Gateway]) -> None:
    kb_id = hosts[0].create_kb("replace")

    def send(host: Gateway, number: int) -> requests.Response:
        if number % 4 < 2:
            return upload_raw(host, kb_id, "README.md", content(number))
        return upload(host, kb_id, "README.md", content(number), on_duplicate="replace")

    answers = at_once(hosts, AT_ONCE, send)
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    ((name, kept),) = documents(hosts[0], kb_id).items()
    assert name == "README.md" and kept in [content(number) for number in range(AT_ONCE)]


def test_uploads_of_other_names_and_to_other_kbs_keep_their_names(hosts: list[Gateway]) -> None:
    kb_ids = [hosts[0].create_kb("names") for _ in range(2)]
    names = ["README.md", "readme.md", "Readme.md", "README.txt"]
    answers = at_once(
        hosts, AT_ONCE, lambda host, number: upload(host, kb_ids[number % 2], names[number // 2], content(number))
    )
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    for kb_id in kb_ids:
        assert sorted(documents(hosts[0], kb_id)) == sorted(names)


def test_after_a_kill_in_the_middle_the_name_is_free_again_when_the_lease_has_ended(hosts: list[Gateway]) -> None:
    kb_id = hosts[0].create_kb("kill")

    def slow_body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="README.md"\r\n\r\n' + b"half" * 50_000
        for _ in range(600):
            time.sleep(0.1)
            yield b"."

    def send() -> None:
        url = f"{hosts[0].base}/datasets/{kb_id}/document/create_by_file"
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        with pytest.raises(requests.ConnectionError):
            requests.post(url, data=slow_body(), headers=headers, timeout=PATIENCE_S)

    sender = threading.Thread(target=send)
    sender.start()
    wait_for(lambda: not no_claims_are_left(hosts[0]))
    refused = upload(hosts[1], kb_id, "README.md", b"whole", on_duplicate="reject")
    assert (refused.status_code, refused.json()["error"]) == (409, "document_name_taken")
    hosts[0].kill_workers()
    sender.join(PATIENCE_S)
    assert not sender.is_alive()
    assert documents(hosts[1], kb_id) == {}
    past = utc_now() - timedelta(seconds=1)
    assert execute(hosts[1], "UPDATE name_claim SET leased_until = :past", past=past) == 1
    taken = upload(hosts[1], kb_id, "README.md", b"whole", on_duplicate="reject")
    assert taken.status_code == 200, taken.text
    assert documents(hosts[1], kb_id) == {"README.md": b"whole"}
