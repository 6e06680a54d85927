"""The `.env` file: read as `Config.load` reads it, and changed so that nobody else's line in it is lost."""

import os
import re
from collections.abc import Collection, Mapping
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from dotenv import dotenv_values
from dotenv.parser import parse_stream

PRIVATE = 0o600

PLAIN = re.compile(r"[\w.:/@%+,=-]+", re.ASCII).fullmatch
"""A value that means the same without quotes, which not everything that reads such files understands."""


class EnvFileError(Exception):
    """The file cannot be read or written; the text says why."""


def read_env(path: Path) -> dict[str, str]:
    """The settings in a file; none, if there is no file. An empty value is one that was not set, as in `Config`.

    :raises EnvFileError: it is no text in UTF-8
    """
    try:
        return {name: value for name, value in dotenv_values(path).items() if value}
    except UnicodeDecodeError as error:
        raise EnvFileError(f"{path} is not a text in UTF-8.") from error


def update_env(path: Path, values: Mapping[str, str], without: Collection[str] = ()) -> bool:
    """Set some values and remove others; every other line stays as it is. Afterwards only the owner may read the file.

    The file is replaced in one step, so that whoever reads it meanwhile gets the old or the new one; a file that has
    these values already is not written at all.

    :returns: whether the file was written
    :raises EnvFileError: a value that the file cannot hold; the file is as it was
    :raises OSError: the folder cannot be written
    """
    path = Path(os.path.realpath(path))
    before = read_env(path)
    wanted = {name: value for name, value in {**before, **values}.items() if value and name not in without}
    if wanted == before:
        _make_private(path)
        return False
    with TemporaryDirectory(prefix=".env-", dir=path.parent) as folder:  # On the same disk, and nobody else may enter.
        new = Path(folder) / path.name
        changed = {name: value for name, value in values.items() if wanted.get(name) != before.get(name)}
        _write(new, _rewritten(_text(path), changed, without))
        if not _as_wanted(path, new, values, without):
            raise EnvFileError(f"{path} cannot be changed without losing a value that is in it; nothing was written.")
        _give_to_owner(path, new)
        os.replace(new, path)
    return True


def _text(path: Path) -> str:
    """The file with its own line ends; empty, if there is none."""
    if not path.exists():
        return ""
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()


def _write(new: Path, text: str) -> None:
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _rewritten(text: str, values: Mapping[str, str], without: Collection[str]) -> str:
    """The text with some values set where they stand, or at its end, and some lines left out.

    python-dotenv's own `set_key` takes the empty lines above a value away with it.
    """
    missing = dict(values)
    parts = []
    for binding in parse_stream(StringIO(text)):
        name, part = binding.key, binding.original.string
        if name is not None and (name in values or name in without):
            line = part.lstrip()
            part = part.removesuffix(line)
            if name in values:
                export = "export " if re.match(r"export\s", line) else ""
                part += export + _assignment(name, values[name])
                missing.pop(name, None)
        parts.append(part)
    if missing and parts and not parts[-1].endswith("\n"):
        parts.append("\n")
    return "".join([*parts, *(_assignment(name, value) for name, value in missing.items())])


def _assignment(name: str, value: str) -> str:
    """A line from which python-dotenv reads the value again.

    It puts variables in for `${NAME}` whatever the quotes, and has no other way to say a `$` there than as the default
    of a variable without a name.
    """
    if not PLAIN(value):
        literal = value.replace("${", "${:-$}{").replace("\\", "\\\\").replace("'", "\\'")
        value = f"'{literal}'"
    return f"{name}={value}\n"


def _as_wanted(path: Path, new: Path, values: Mapping[str, str], without: Collection[str]) -> bool:
    """Whether the new file holds the values, and of the others each as it was written, `${NAME}` and all."""
    others = {*dotenv_values(path, interpolate=False)} - {*values, *without}
    as_written, was_written = dotenv_values(new, interpolate=False), dotenv_values(path, interpolate=False)
    read = read_env(new)
    return (
        all(as_written.get(name) == was_written[name] for name in others)
        and all(read.get(name) == value for name, value in values.items())
        and not any(name in read for name in without)
    )


def _give_to_owner(path: Path, new: Path) -> None:
    """Root may write the file of a service, which must go on reading it."""
    if path.exists():
        owner = path.stat()
        if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(new, owner.st_uid, owner.st_gid)


def _make_private(path: Path) -> None:
    if path.exists() and path.stat().st_mode & 0o777 != PRIVATE:
        path.chmod(PRIVATE)
