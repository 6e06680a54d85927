"""The commands of "Rehearse with the sandbox as your Dify" in docs/migration.md."""

import json
import os
import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from config import Config

from ..support.clone import clone_project
from ..support.newman import COLLECTION, require_newman
from ..support.patience import PATIENCE_S
from ..support.running_gateway import PROJECT_DIR, free_port

pytestmark = pytest.mark.server
LINKED = (".venv", "Makefile", "README.md", "postman")


def commands() -> str:
    page = (PROJECT_DIR / "docs" / "migration.md").read_text(encoding="utf-8")
    chapter = page.split("## Rehearse with the sandbox as your Dify", 1)[1]
    return re.search(r"```sh\n(.*?)```", chapter, re.DOTALL)[1]  # type: ignore[index]


def test_the_rehearsal_works_as_printed(tmp_path: Path) -> None:
    """Runs all commands, on other ports, in a clone. Of QA's collection one folder is enough: others test all of it."""
    require_newman()
    folder = clone_project(tmp_path)
    for name in LINKED:
        (folder / name).symlink_to(PROJECT_DIR / name)
    first_folder = json.loads(COLLECTION.read_text(encoding="utf-8"))["item"][1]["name"]
    ours = {entry.name for entry in fields(Config)}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment["OPTIONS"] = f'--folder "{first_folder}"'
    text = commands()
    for port in ("8001", "8002"):
        assert port in text
        text = text.replace(port, str(free_port()))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"version":"1.16.1"' in done.stdout
    assert "works    console login: as admin@example.com" in done.stdout
    assert not re.search(r"^missing ", done.stdout, re.MULTILINE)
    assert '"dify":"ok"' in done.stdout
    assert re.search(r"assertions │ +[1-9]\d* │ +0 ", done.stdout), done.stdout
    assert '"name":"Route API"' in done.stdout
    assert '"name":"README.md"' in done.stdout
    assert not (folder / ".env").exists() and not (folder / "var" / "rehearsal").exists()
