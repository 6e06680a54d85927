"""Real documents over real sockets: uploaded to a knowledge base, found, used in an answer, and downloaded."""

import json
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import docx
import pytest
import requests
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen import canvas

from ..support.patience import PATIENCE_S
from ..support.running_gateway import Gateway, stream, wait_for

HANDBOOK = [
    "农村集中供水工程的水价由固定资产折旧、运行维护费和合理利润三部分组成。",
    "水费每季度收取一次，逾期三十天未缴的用户每日加收千分之五的滞纳金。",
    "水质检测由县级疾控中心负责，出厂水每日检测浑浊度、余氯和pH值三项指标。",
    "管网漏损率应当控制在百分之十二以内，超出部分不得计入水价成本。",
]
QUESTIONS = {
    "水价由哪几部分组成？": "固定资产折旧",
    "逾期不缴水费会怎么样？": "千分之五的滞纳金",
    "谁负责水质检测？": "县级疾控中心",
    "管网漏损率的上限是多少？": "百分之十二",
}


def as_pdf(path: Path) -> Path:
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    page = canvas.Canvas(str(path), pagesize=A4)
    for number, sentence in enumerate(HANDBOOK):
        page.setFont("STSong-Light", 12)
        page.drawString(60, 780, f"第{number + 1}章")
        for line in range(0, len(sentence), 30):
            page.drawString(60, 750 - line, sentence[line : line + 30])
        page.showPage()
    page.save()
    return path


def as_docx(path: Path) -> Path:
    document = docx.Document()
    document.add_heading("供水手册", 1)
    for sentence in HANDBOOK[:3]:
        document.add_paragraph(sentence)
    document.add_table(rows=1, cols=1).cell(0, 0).text = HANDBOOK[3]
    document.save(str(path))
    return path


def as_text_of_a_megabyte(path: Path) -> Path:
    filler = "\n\n".join(
        f"第{number}条 本条规定了第{number}号泵站的日常巡检路线与记录要求。" for number in range(13_000)
    )
    half = len(filler) // 2
    middle = filler.index("\n\n", half)
    path.write_text(filler[:middle] + "\n\n" + "\n\n".join(HANDBOOK) + filler[middle:], encoding="utf-8")
    assert path.stat().st_size > 1_000_000
    return path


@pytest.mark.parametrize("worker_class", ["gevent"], scope="session")
@pytest.mark.parametrize(
    "name, make", [("供水手册.pdf", as_pdf), ("供水手册.docx", as_docx), ("供水手册.txt", as_text_of_a_megabyte)]
)
def test_a_document_is_found_and_answered_from(
    gateway: Gateway, tmp_path: Path, name: str, make: Callable[[Path], Path]
) -> None:
    kb_id = gateway.create_kb("供水")
    uploaded = gateway.upload(kb_id, make(tmp_path / name))
    assert uploaded["name"] == name
    status = gateway.wait_until_indexed(kb_id, uploaded["batch"])
    assert status["indexing_status"] == "completed" and status["progress"] == 1, status

    for question, passage in QUESTIONS.items():
        best = gateway.post("chunk/retrieval_test", kb_id=kb_id, question=question)["data"]["records"][0]
        assert passage in best["content"].replace("\n", "").replace(" ", ""), question
        assert 0 < best["score"] <= 1

    answer = gateway.post("conversation/completion_db", kb_id=kb_id, user_id="测试", message="谁负责水质检测？")
    assert "疾控中心" in answer["data"]["content"].replace("\n", "")
    assert answer["rag_info"]["context_used"] and answer["rag_info"]["references"][0]["doc_name"] == name

    row = gateway.get("document/list", kb_id=kb_id)["data"]["docs"][0]
    assert (row["run"], row["progress"], row["status"]) == ("3", 1, "1")
    assert row["chunk_num"] == status["total_segments"] > 0
    assert row["size"] == (tmp_path / name).stat().st_size


@pytest.mark.parametrize("worker_class", ["gevent"], scope="session")
def test_every_number_is_what_it_says(gateway: Gateway, tmp_path: Path) -> None:
    kb_id, qa_id = gateway.create_kb("数字"), gateway.create_kb("问答")
    texts = {
        "en.txt": "The pump runs.\n\nIt saves energy.",
        "zh.txt": "水泵运行。\n\n它很省电。\n\n每天检查。",
        "空.txt": "",
    }
    pairs = {
        "问答.csv": "问题,答案\n怎么交水费？,在手机上。\n停水了怎么办？,拨打热线。\n",
        "散文.txt": "没有问题，也没有答案。",
    }

    def numbers_of(kb_id: str) -> set[tuple[int, int, int]]:
        listed = gateway.get("kb/list", page_size=1000)["data"]["kbs"]
        shown = [gateway.get("kb/detail", kb_id=kb_id)["data"], *(kb for kb in listed if kb["id"] == kb_id)]
        return {(kb["doc_num"], kb["chunk_num"], kb["token_num"]) for kb in shown}

    for kb, files, settings in ((kb_id, texts, {}), (qa_id, pairs, {"doc_form": "qa_model"})):
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
            gateway.wait_until_indexed(kb, gateway.upload(kb, tmp_path / name, **settings)["batch"])
    documents = {
        row["name"]: row for kb in (kb_id, qa_id) for row in gateway.get("document/list", kb_id=kb)["data"]["docs"]
    }
    assert {name: row["chunk_num"] for name, row in documents.items()} == {
        **{"en.txt": 2, "zh.txt": 3, "空.txt": 0},
        **{"问答.csv": 2, "散文.txt": 0},
    }
    assert all(0 < documents[name]["token_num"] < len(texts[name]) * 2 for name in ("en.txt", "zh.txt"))
    assert documents["en.txt"]["token_num"] < len(texts["en.txt"]) / 2, "they are no characters"
    for row in documents.values():
        assert row["process_begin_at"] and row["process_duation"] >= 0
    said = {name: row["progress_msg"] for name, row in documents.items()}
    assert said.pop("空.txt") and "qa_model" in said.pop("散文.txt") and set(said.values()) == {""}

    characters = sum(len(text.replace("\n", "")) for text in texts.values())
    wait_for(lambda: numbers_of(kb_id) == {(3, 5, characters)})
    wait_for(lambda: {numbers[:2] for numbers in numbers_of(qa_id)} == {(2, 2)})
    gateway.post("document/rm", kb_id=kb_id, doc_id=documents["zh.txt"]["id"])
    wait_for(lambda: numbers_of(kb_id) == {(2, 2, len(texts["en.txt"].replace("\n", "")))})


@pytest.mark.parametrize("worker_class", ["gevent"], scope="session")
def test_what_the_sandbox_refuses_is_not_said_to_be_difys_word(gateway: Gateway, tmp_path: Path) -> None:
    kb_id = gateway.create_kb("Dify")
    answer = gateway.http.post(
        f"{gateway.base}/document/upload", data={"kb_id": kb_id}, files={"file": ("a.exe", b"MZ")}, timeout=PATIENCE_S
    )
    assert answer.json()["message"] == "a.exe: Sandbox does not take files of the type 'exe'."


def test_the_answer_streams_and_the_conversation_remembers(gateway: Gateway, tmp_path: Path) -> None:
    kb_id = gateway.create_kb("记忆")
    gateway.wait_until_indexed(kb_id, gateway.upload(kb_id, as_docx(tmp_path / "手册.docx"))["batch"])
    asked = {"user_id": "u-stream", "kb_id": kb_id, "message": "水费多久收一次？", "stream": True}
    events = stream(gateway, asked)
    deltas = "".join(event["data"]["answer"] for event in events[:-2])
    last = events[-2]["data"]
    assert last["answer"] == deltas and "每季度" in last["content"] and last["thinking"]
    assert events[-1] == {"code": 0, "message": "", "data": True}
    assert len({(event["data"]["conversation_id"], event["data"]["message_id"]) for event in events[:-1]}) == 1

    again = stream(gateway, {**asked, "conversation_id": last["conversation_id"], "message": "我刚才问了什么？"})
    assert again[-2]["data"]["is_new_conversation"] is False
    assert "水费多久收一次" in again[-2]["data"]["content"]


@pytest.mark.parametrize("worker_class", ["gevent"], scope="session")
def test_the_original_file_comes_back_byte_by_byte(gateway: Gateway, tmp_path: Path) -> None:
    kb_id = gateway.create_kb("下载")
    path = as_pdf(tmp_path / "导则《水价》.pdf")
    document = gateway.upload(kb_id, path)
    ids = {"kb_id": kb_id, "document_id": document["id"]}
    download = gateway.http.post(f"{gateway.base}/document/download", json=ids, timeout=PATIENCE_S)
    assert download.content == path.read_bytes()
    assert download.headers["Content-Type"] == "application/pdf"
    saved = gateway.get("document/get", **ids, download_dir="2025/水价")["data"]
    assert Path(saved["file_path"]).read_bytes() == path.read_bytes()
    assert Path(saved["file_path"]).parts[-5:-1] == ("2025", "水价", kb_id, document["id"])
    assert (
        gateway.http.get(gateway.base.removesuffix("/v1") + saved["download_url"], timeout=PATIENCE_S).content
        == path.read_bytes()
    )


@pytest.mark.parametrize("worker_class", ["gevent"], scope="session")
def test_a_switched_off_chunk_or_document_is_not_found(gateway: Gateway, tmp_path: Path) -> None:
    kb_id = gateway.create_kb("开关")
    document = gateway.upload(
        kb_id, as_docx(tmp_path / "手册.docx"), separator="\n", max_tokens="60", chunk_overlap="0"
    )
    gateway.wait_until_indexed(kb_id, document["batch"])
    question = {"kb_id": kb_id, "question": "谁负责水质检测？"}
    chunks = gateway.get("chunk/list", kb_id=kb_id, doc_id=document["id"])["data"]["chunks"]
    hit = next(chunk for chunk in chunks if "疾控" in chunk["content_with_weight"])

    def found() -> str:
        return json.dumps(gateway.post("chunk/retrieval_test", **question)["data"]["records"], ensure_ascii=False)

    ids = {"kb_id": kb_id, "doc_id": document["id"]}
    assert "疾控" in found()
    gateway.post("chunk/switch", **ids, chunk_ids=[hit["chunk_id"]], available_int=0)
    assert "疾控" not in found()
    gateway.post("chunk/switch", **ids, chunk_ids=[hit["chunk_id"]], available_int=1)
    assert "疾控" in found()
    gateway.post("document/change_status", **ids, action="disable")
    assert found() == "[]"
    gateway.post("document/change_status", **ids, action="enable")
    assert "疾控" in found()


@pytest.mark.parametrize("worker_class", ["gevent"], scope="session")
def test_everything_is_still_there_after_a_restart(own_gateway: Gateway, tmp_path: Path) -> None:
    kb_id = own_gateway.create_kb("重启")
    document = own_gateway.upload(kb_id, as_docx(tmp_path / "手册.docx"))
    own_gateway.wait_until_indexed(kb_id, document["batch"])
    first = own_gateway.post("conversation/completion", user_id="u-restart", message="你好，我叫小明")["data"]
    assert own_gateway.stop() == 0
    own_gateway.start()
    assert own_gateway.get("document/list", kb_id=kb_id)["data"]["docs"][0]["id"] == document["id"]
    second = own_gateway.post(
        "conversation/completion",
        user_id="u-restart",
        conversation_id=first["conversation_id"],
        message="我刚才问了什么？",
    )["data"]
    assert second["conversation_id"] == first["conversation_id"] and "小明" in second["content"]


def test_a_caller_who_leaves_does_not_block_the_conversation(gateway: Gateway) -> None:
    asked = {"user_id": "u-leaves", "message": "[[len:4000]][[delay:20]]讲个长故事", "stream": True}
    with requests.post(
        f"{gateway.base}/conversation/completion", json=asked, stream=True, timeout=PATIENCE_S
    ) as answer:
        first = json.loads(next(answer.iter_lines()).removeprefix(b"data: "))["data"]
        busy = gateway.http.post(
            f"{gateway.base}/conversation/completion",
            json={"user_id": "u-leaves", "conversation_id": first["conversation_id"], "message": "第二句"},
            timeout=PATIENCE_S,
        )
        assert (busy.status_code, busy.json()["error"]) == (409, "conversation_busy")
    for _ in range(100):
        again = gateway.http.post(
            f"{gateway.base}/conversation/completion",
            json={"user_id": "u-leaves", "conversation_id": first["conversation_id"], "message": "第二句"},
            timeout=PATIENCE_S,
        )
        if again.status_code == 200:
            return
        time.sleep(0.05)  # The gateway looks once a second whether callers have left.
    raise AssertionError("the conversation is still busy after its caller has left")


def test_calls_side_by_side_and_a_zip_work_in_both_kinds_of_workers(gateway: Gateway, tmp_path: Path) -> None:
    kb_id = gateway.create_kb("并行")
    contents = {f"第{number}章_100%.txt": f"{sentence}\n".encode() * 3000 for number, sentence in enumerate(HANDBOOK)}
    ids = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        uploaded = gateway.upload(kb_id, tmp_path / name)
        gateway.wait_until_indexed(kb_id, uploaded["batch"])
        ids[name] = uploaded["id"]
    rows = gateway.get("document/list", kb_id=kb_id, keywords="章_100%")["data"]["docs"]
    assert {row["name"]: row["id"] for row in rows} == ids and all(row["chunk_num"] > 0 for row in rows)
    assert gateway.get("document/list", kb_id=kb_id, keywords="第_章")["data"]["total"] == 0

    body = {"kb_id": kb_id, "doc_ids": list(ids.values())}
    answer = requests.post(f"{gateway.base}/document/download", json=body, timeout=PATIENCE_S)
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == contents
    assert len(answer.content) < sum(map(len, contents.values())) / 2

    gateway.post("document/change_status", kb_id=kb_id, doc_id=list(ids.values()), action="disable")
    replaced = "第0章_100%.txt"
    with open(tmp_path / replaced, "rb") as file:
        form = {"kb_id": kb_id, "on_duplicate": "replace"}
        requests.post(
            f"{gateway.base}/document/upload", form, files={"file": file}, timeout=PATIENCE_S
        ).raise_for_status()
    rows = gateway.get("document/list", kb_id=kb_id)["data"]["docs"]
    assert sorted(row["name"] for row in rows) == sorted(ids)
    assert [row["name"] for row in rows if row["status"] == "1"] == [replaced]
