"""Uploads by a Java program, with Spring's RestTemplate, OkHttp and the JDK's HttpClient.

`java/UploadClient.java` is compiled for the test. The libraries are Debian packages, which `.ci/run` installs.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from ..support.databases import absent
from ..support.patience import PATIENCE_S
from ..support.running_gateway import Gateway

JARS = Path("/usr/share/java")
LIBRARIES = """spring3-web spring3-core spring3-beans spring3-context okhttp okio commons-logging jackson-core
jackson-databind jackson-annotations javax.mail""".split()
PACKAGES = "default-jdk-headless libspring-web-java libokhttp-java libmail-java libjackson2-databind-java"

NAME = "水厂巡检记录.txt"
CONTENT = "三号泵房的额定压力是零点八兆帕。\r\n值班电话是八六四二。\r".encode()
WAYS = ["spring", "spring-utf8", "spring-raw", "spring-utf8-raw", "okhttp", "okhttp-raw", "jdk", "jdk-raw"]


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the compiled client."""
    missing = [name for name in LIBRARIES if not (JARS / f"{name}.jar").exists()]
    if missing or not shutil.which("javac"):
        absent(f"no Java with {', '.join(missing) or 'javac'}; the Debian packages are {PACKAGES}")
    classes = tmp_path_factory.mktemp("java")
    class_path = ":".join([str(classes), *(str(JARS / f"{name}.jar") for name in LIBRARIES)])
    source = Path(__file__).parent / "java" / "UploadClient.java"
    compile_it = ["javac", "-encoding", "UTF-8", "-cp", class_path, "-d", str(classes), str(source)]
    compiled = subprocess.run(compile_it, capture_output=True, text=True, timeout=PATIENCE_S)
    assert compiled.returncode == 0, compiled.stderr
    # Debian's Spring is older than the modules of the JDK, and reflects on its classes. The file's name needs UTF-8
    # also where the locale is C.
    opened = ["--add-opens", "java.base/java.lang=ALL-UNNAMED"]
    return ["java", *opened, "-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8", "-cp", class_path, "UploadClient"]


@pytest.mark.server
def test_each_java_client_uploads_a_file_with_its_chinese_name(
    java: list[str], gateway: Gateway, tmp_path: Path
) -> None:
    file = tmp_path / NAME
    file.write_bytes(CONTENT)
    kb_ids = {way: gateway.create_kb(way) for way in WAYS}
    arguments = [text for way in WAYS for text in (way, kb_ids[way])]
    ran = subprocess.run(
        [*java, gateway.base, str(file), *arguments],
        capture_output=True,
        timeout=PATIENCE_S,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    assert ran.returncode == 0, ran.stderr.decode()
    answers: dict[str, Any] = {line["way"]: line for line in map(json.loads, ran.stdout.splitlines())}
    assert list(answers) == WAYS
    for way in WAYS:
        assert answers[way]["status"] == 200, answers[way]
        (row,) = gateway.get("document/list", kb_id=kb_ids[way])["data"]["docs"]
        # Without a multipart charset, Spring sends question marks, so that the name is lost before it comes to us.
        is_lost = way in ("spring", "spring-raw")
        assert row["name"] == ("______.txt" if is_lost else NAME), way
        assert ("setMultipartCharset" in json.dumps(answers[way]["warnings"])) == is_lost
        assert bool(answers[way]["warnings"]) == is_lost, answers[way]
        ids = {"kb_id": kb_ids[way], "document_id": row["id"]}
        assert requests.get(f"{gateway.base}/document/download", params=ids, timeout=PATIENCE_S).content == CONTENT
