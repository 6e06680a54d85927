from collections.abc import Iterator
from pathlib import Path

import pytest

from route_api.errors import ValidationFailed
from route_api.knowledge.downloads import folder_below, safe_file_name, save_file


def test_a_folder_is_made_below_the_root(tmp_path: Path) -> None:
    assert folder_below(tmp_path / "root", "a/b") == tmp_path / "root" / "a" / "b"
    assert folder_below(tmp_path / "root", "") == tmp_path / "root"
    assert (tmp_path / "root" / "a" / "b").is_dir()


@pytest.mark.parametrize("wanted", ["..", "a/../..", "/tmp", "../root-2"])
def test_a_folder_outside_of_the_root_is_refused_and_not_made(tmp_path: Path, wanted: str) -> None:
    with pytest.raises(ValidationFailed):
        folder_below(tmp_path / "root", wanted)
    assert not (tmp_path / "root-2").exists()


def test_a_link_does_not_lead_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    with pytest.raises(ValidationFailed):
        folder_below(tmp_path / "root", "out/elsewhere")


def test_a_file_where_the_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for wanted in ("file", "file/below"):
        with pytest.raises(ValidationFailed, match="file"):
            folder_below(tmp_path, wanted)


def test_a_file_that_breaks_off_leaves_nothing_and_keeps_the_older_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("older")

    def breaking() -> Iterator[bytes]:
        yield b"new"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        save_file(tmp_path, tmp_path, "a.txt", breaking())
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "older"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("红楼梦.txt", "红楼梦.txt"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/", "document"),
        ("..", "document"),
        ("", "document"),
        ("a\0\n\u202eb.txt", "ab.txt"),
    ],
)
def test_a_name_cannot_leave_its_folder(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe


@pytest.mark.parametrize("name", ["红" * 300 + ".txt", "a" * 300 + ".txt", "a." + "b" * 300, "红." + "楼" * 300])
def test_a_long_name_fits_a_file_system(tmp_path: Path, name: str) -> None:
    assert len(safe_file_name(name).encode()) <= 255
    assert save_file(tmp_path, tmp_path, name, [b"x"]).read_bytes() == b"x"
