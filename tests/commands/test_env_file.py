"""The `.env` file, written by us and read by `Config.load` and by the flask command."""

import os
import subprocess
from pathlib import Path

import pytest

import config
from config import Config
from route_api.commands.env_file import EnvFileError, read_env, update_env

from ..support.patience import PATIENCE_S

PASSWORDS = [
    "plain",
    "Secret 123",
    " spaces around ",
    "it's",
    'a "quoted" one',
    "back\\slash and \\n",
    "ends with \\",
    "\\'",
    "# no comment",
    "with # inside",
    "a=b",
    "$HOME ${HOME} ${HOME:-x} $${",
    "${:-$}{HOME}",
    "密码🔑",
    "two\nlines",
    "`id` $(id) !",
]
BEFORE = """# The gateway of the research institute.
PORT=9001   # behind nginx
export LOG_LEVEL="DEBUG"

API_KEYS=
CORS_ORIGINS='https://a.example,https://b.example'
DOWNLOAD_ROOT=${HOME}/downloads
SANDBOX_LLM_MODEL"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".env"


@pytest.mark.parametrize("password", PASSWORDS)
def test_any_password_survives_the_file(monkeypatch: pytest.MonkeyPatch, path: Path, password: str) -> None:
    for name in ("DIFY_CONSOLE_EMAIL", "DIFY_CONSOLE_PASSWORD"):  # Read into the environment, and taken out again.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(config, "PROJECT_DIR", path.parent)
    update_env(path, {"DIFY_CONSOLE_EMAIL": "a@example.com", "DIFY_CONSOLE_PASSWORD": password})
    assert read_env(path)["DIFY_CONSOLE_PASSWORD"] == password
    assert Config.load().DIFY_CONSOLE_PASSWORD == password


def test_every_other_line_stays_as_it_was(path: Path) -> None:
    path.write_text(BEFORE)
    assert update_env(path, {"API_KEYS": "long-key", "AUTH": "required"})
    assert path.read_text() == BEFORE.replace("API_KEYS=", "API_KEYS=long-key") + "\nAUTH=required\n"


def test_a_file_that_has_the_values_is_not_written(path: Path) -> None:
    path.write_text(BEFORE)
    os.utime(path, (1, 1))
    assert not update_env(path, {"PORT": "9001", "LOG_LEVEL": "DEBUG"}, removed=["NOT_THERE"])
    assert (path.read_text(), path.stat().st_mtime) == (BEFORE, 1)


def test_a_value_is_taken_out_and_the_rest_stays(path: Path) -> None:
    path.write_text(BEFORE)
    assert update_env(path, {}, removed=["PORT"])
    assert path.read_text() == BEFORE.replace("PORT=9001   # behind nginx\n", "")


def test_windows_line_ends_and_indents_stay(path: Path) -> None:
    path.write_bytes(b"A=1\r\n\r\n  B=2\r\nC=3\r\n")
    update_env(path, {"B": "x"})
    assert path.read_bytes() == b"A=1\r\n\r\n  B=x\r\nC=3\r\n"


def test_a_byte_order_mark_hides_no_setting(path: Path) -> None:
    """Windows' editors begin a text in UTF-8 with it."""
    path.write_bytes(b"\xef\xbb\xbfA=1\r\nB=2\r\n")
    assert read_env(path) == {"A": "1", "B": "2"}
    assert update_env(path, {"A": "x", "C": "3"})
    assert path.read_bytes() == b"A=x\r\nB=2\r\nC=3\r\n"


@pytest.mark.parametrize("encoding", ["gbk", "utf-16", "utf-16-le"])
def test_a_file_in_another_encoding_is_left_alone(path: Path, encoding: str) -> None:
    before = "NAME=模型\n".encode(encoding)
    path.write_bytes(before)
    with pytest.raises(EnvFileError, match="is not a text in UTF-8"):
        update_env(path, {"A": "x"})
    assert path.read_bytes() == before


def test_an_exported_value_stays_exported(path: Path) -> None:
    path.write_text(BEFORE)
    update_env(path, {"LOG_LEVEL": "INFO"})
    assert path.read_text() == BEFORE.replace('"DEBUG"', "INFO")


def test_a_value_that_another_one_refers_to_may_change(path: Path) -> None:
    path.write_text("HOST_NAME=old\nDIFY_BASE_URL=http://${HOST_NAME}\n")
    update_env(path, {"HOST_NAME": "new"})
    assert path.read_text() == "HOST_NAME=new\nDIFY_BASE_URL=http://${HOST_NAME}\n"


@pytest.mark.parametrize("mode", [None, 0o644, 0o666])
@pytest.mark.parametrize("value", ["9001", "9002"])
def test_only_the_owner_may_read_it_whether_it_was_written_or_not(path: Path, mode: int | None, value: str) -> None:
    if mode:
        path.write_text(BEFORE)
        path.chmod(mode)
    update_env(path, {"PORT": value})
    assert path.stat().st_mode & 0o777 == 0o600


def test_nobody_else_may_read_it_from_its_first_byte_on(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write, replace = os.fsync, os.replace

    def look_and_write(descriptor: int) -> None:
        new = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        seen.append((new.stat().st_mode & 0o777, new.parent.stat().st_mode & 0o777))
        write(descriptor)

    def look_and_replace(new: Path, old: Path) -> None:
        seen.append((new.stat().st_mode & 0o777, new.parent.stat().st_mode & 0o777))
        replace(new, old)

    monkeypatch.setattr(os, "fsync", look_and_write)
    monkeypatch.setattr(os, "replace", look_and_replace)
    old_mask = os.umask(0)
    try:
        update_env(path, {"A": "1", "B": "2"})
    finally:
        os.umask(old_mask)
    assert seen == [(0o600, 0o700)] * 2


def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    path.write_text(BEFORE)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        update_env(path, {"PORT": "1"})
    assert path.read_text() == BEFORE
    assert os.listdir(path.parent) == [".env"]


def test_a_value_that_no_such_file_can_hold_is_refused_and_the_file_stays(path: Path) -> None:
    path.write_text(BEFORE)
    with pytest.raises(EnvFileError, match="nothing was written"):
        update_env(path, {"PORT": "carriage\rreturn"})
    assert path.read_text() == BEFORE
    assert os.listdir(path.parent) == [".env"]


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "secrets.env"
    real.write_text("PORT=1\n")
    path.symlink_to(real.name)
    update_env(path, {"PORT": "2"})
    assert path.is_symlink() and real.read_text() == "PORT=2\n"


def test_a_file_that_is_no_text_is_named(path: Path) -> None:
    path.write_bytes(b"PORT=\xff\xfe")
    with pytest.raises(EnvFileError, match="UTF-8"):
        read_env(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write a file for somebody else")
def test_the_owner_of_the_file_stays_the_owner(path: Path) -> None:
    path.write_text("PORT=1\n")
    os.chown(path, 12345, 12345)
    update_env(path, {"PORT": "2"})
    assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (12345, 12345, 0o600)


def test_plain_values_have_no_quotes_so_that_a_shell_and_a_container_read_them_too(path: Path) -> None:
    update_env(path, {"URL": "http://dify.example.com:8080", "KEY": "dataset-1aB_c", "NAME": "Secret 123"})
    assert path.read_text() == "URL=http://dify.example.com:8080\nKEY=dataset-1aB_c\nNAME='Secret 123'\n"
    sourced = ["sh", "-c", f'. {path}; printf %s "$URL $KEY $NAME"']
    shown = subprocess.run(sourced, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout
    assert shown == "http://dify.example.com:8080 dataset-1aB_c Secret 123"
