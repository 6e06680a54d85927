"""Runs the commands of the README's first section."""

import json
import re
import subprocess
from pathlib import Path

from .patience import PATIENCE_S
from .running_gateway import PROJECT_DIR


def commands_of_the_readme() -> str:
    readme = (PROJECT_DIR / "README.md").read_text()
    section = readme.split("## The first five minutes", 1)[1]
    return re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]  # type: ignore[index]


def assert_the_first_five_minutes_work(port: int, folder: Path, *, with_key: bool = False) -> None:
    """Run the commands of the README.

    :param with_key: set KEY as the comment of its line says, to the key in `.env`
    """
    commands = commands_of_the_readme().replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    if with_key:
        commands, changed = re.subn(r"^KEY= .*(?=KEY=)", "", commands, flags=re.MULTILINE)
        assert changed == 1
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    assert '"code":-1' not in done.stdout
    assert '"name":"hulumiao.txt"' in done.stdout
    assert '"progress":1,' in done.stdout
    found = done.stdout.split('"records":[', 1)[1]
    assert "巷内有个古庙" in found.split('"score"')[0]
    events = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("data: ")]
    assert "门槛上坐着" in events[-2]["data"]["content"]
    assert 'data: {"code":0,"message":"","data":true}' in done.stdout
    assert "Delete DB successful!" in done.stdout
