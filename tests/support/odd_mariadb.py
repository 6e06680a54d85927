"""A MariaDB of the test's own, with settings that differ from those of most servers."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from .deployment import Process, program
from .running_gateway import free_port

ODD_SETTINGS = ("--character-set-server=latin1", "--default-time-zone=+08:00", "--lower-case-table-names=1")


class OddMariaDb(Process):
    """A MariaDB whose user root has no password.

    :param sql_mode: MariaDB's setting of this name
    """

    def __init__(self, folder: Path, sql_mode: str) -> None:
        self.port = free_port()
        self.url = f"mysql://root@127.0.0.1:{self.port}"
        common = ["--no-defaults", f"--datadir={folder / 'data'}", f"--user={'root' if os.getuid() == 0 else ''}"]
        install = [program("mariadb-install-db"), *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
        server = [program("mariadbd"), *common, *ODD_SETTINGS, f"--sql-mode={sql_mode}", f"--port={self.port}"]
        paths = ["--bind-address=127.0.0.1", f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}"]
        subprocess.run(install, check=True, capture_output=True)
        # If this process is killed, Linux sends SIGTERM to the server.
        super().__init__("mariadb", [program("setpriv"), "--pdeathsig=TERM", *server, *paths], folder)

    def is_up(self) -> bool:
        with suppress(OperationalError):
            create_engine(f"mysql+pymysql://root@127.0.0.1:{self.port}/mysql").connect().close()
            return True
        return False
