"""A clone of this project, for tests that write a `.env`."""

import shutil
from pathlib import Path

from .running_gateway import PROJECT_DIR

COPIED = ("config.py", "wsgi.py", "gunicorn.conf.py", "prompts.toml")
LINKED = ("route_api", "migrations")


def clone_project(parent: Path) -> Path:
    """Make a folder with all that the gateway needs, but without settings.

    :param parent: the folder in which it is made
    """
    folder = parent / "clone"
    folder.mkdir()
    for name in COPIED:
        shutil.copy(PROJECT_DIR / name, folder)
    for name in LINKED:
        (folder / name).symlink_to(PROJECT_DIR / name)
    return folder
