"""Reading a `.env` file as `Config.load` does, and changing settings in it without losing any other line."""

import os
import re
from collections.abc import Collection, Mapping
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from config import ConfigError, read_env_text

PRIVATE = 0o600

PLAIN = re.compile(r"[\w.:/@%+,=-]+", re.ASCII).fullmatch
"""Matches a value that needs no quotes. Some programs that read such files do not understand quotes."""


class EnvFileError(Exception):
    """The file cannot be read or written; the message says why."""


def read_env(path: Path) -> dict[str, str]:
    """Read the settings in a file. A setting with an empty value counts as not set, as in `Config`.

    :returns: the values by name; empty if there is no file
    :raises EnvFileError: the file is a folder, or no text in UTF-8
    :raises OSError: the file cannot be read
    """
    try:
        return {name: value for name, value in dotenv_values(stream=StringIO(read_env_text(path))).items() if value}
    except ConfigError as error:
        raise EnvFileError(str(error)) from error


def update_env(path: Path, values: Mapping[str, str], removed: Collection[str] = ()) -> bool:
    """Set some values and remove others. Every other line stays as it is.

    Afterwards only the owner may read the file. It is replaced in one step, so a program that reads it at the same time
    gets the old or the new file. A file that has these values already is not written.

    :param values: by name
    :param removed: the names of the settings to remove
    :returns: whether the file was written
    :raises EnvFileError: a file cannot hold one of the values; the file has not changed
    :raises OSError: the folder cannot be written
    """
    path = Path(os.path.realpath(path))
    before = read_env(path)
    wanted = {name: value for name, value in {**before, **values}.items() if value and name not in removed}
    if wanted == before:
        _make_private(path)
        return False
    with TemporaryDirectory(prefix=".env-", dir=path.parent) as folder:  # On the same disk, and only we may enter it.
        new = Path(folder) / path.name
        changed = {name: value for name, value in values.items() if wanted.get(name) != before.get(name)}
        _write(new, _replace_lines(_read_text(path), changed, removed))
        if not _is_correct(path, new, values, removed):
            raise EnvFileError(f"{path} cannot be changed without losing a value that is in it; nothing was written.")
        _give_to_owner(path, new)
        os.replace(new, path)
    return True


def owner_of(path: Path) -> str:
    """The name of the user to whom a file belongs; the number if the user has no name."""
    try:
        return path.owner()
    except KeyError:
        return str(path.stat().st_uid)


def _read_text(path: Path) -> str:
    """Read a file without changing its line ends, and without a byte order mark; empty if there is no file."""
    if not path.exists():
        return ""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return file.read()


def _write(new: Path, text: str) -> None:
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _replace_lines(text: str, values: Mapping[str, str], removed: Collection[str]) -> str:
    """Replace the lines of some settings, append the settings that have no line, and remove others.

    python-dotenv's own `set_key` would also remove the empty lines above a setting.
    """
    missing = dict(values)
    parts = []
    line_end = "\r\n" if "\r\n" in text else "\n"
    for binding in parse_stream(StringIO(text)):
        name, part = binding.key, binding.original.string
        if name is not None and (name in values or name in removed):
            line = part.lstrip()
            part = part.removesuffix(line)
            if name in values:
                export = "export " if re.match(r"export\s", line) else ""
                part += export + _assignment(name, values[name]) + line_end
                missing.pop(name, None)
        parts.append(part)
    if missing and parts and not parts[-1].endswith("\n"):
        parts.append(line_end)
    return "".join([*parts, *(_assignment(name, value) + line_end for name, value in missing.items())])


def _assignment(name: str, value: str) -> str:
    """Write a line, without its end, from which python-dotenv reads exactly this value.

    python-dotenv replaces `${NAME}` by a variable, even between single quotes, and has no escape for it. So we write
    the `$` as the default of a variable without a name: `${:-$}`.
    """
    if not PLAIN(value):
        literal = value.replace("${", "${:-$}{").replace("\\", "\\\\").replace("'", "\\'")
        value = f"'{literal}'"
    return f"{name}={value}"


def _is_correct(path: Path, new: Path, values: Mapping[str, str], removed: Collection[str]) -> bool:
    """Return whether the new file has the new values, and all other values as the old file writes them."""
    old_values, new_values = (
        dotenv_values(stream=StringIO(read_env_text(file)), interpolate=False) for file in (path, new)
    )
    others = {*old_values} - {*values, *removed}
    settings = read_env(new)
    return (
        all(new_values.get(name) == old_values[name] for name in others)
        and all(settings.get(name) == value for name, value in values.items())
        and not any(name in settings for name in removed)
    )


def _give_to_owner(path: Path, new: Path) -> None:
    """Keep the owner of the old file: a service must still be able to read its file after root has written it."""
    if path.exists():
        owner = path.stat()
        if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(new, owner.st_uid, owner.st_gid)


def _make_private(path: Path) -> None:
    if path.exists() and path.stat().st_mode & 0o777 != PRIVATE:
        path.chmod(PRIVATE)
