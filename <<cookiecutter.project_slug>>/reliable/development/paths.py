"""Where the development services keep their data, sockets and logs: all below the project."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from django.core.exceptions import ImproperlyConfigured

# A unix socket's path may have 104 bytes on macOS and 108 on Linux, with the final NUL; PostgreSQL
# adds `/.s.PGSQL.5432.lock` to the directory, and gunicorn's `/web-development.sock` is shorter.
_LONGEST_DIRECTORY = 104 - len("/.s.PGSQL.5432.lock") - 1


@dataclass(frozen=True)
class DevelopmentPaths:
    """Paths and addresses of one project's development services.

    A project whose path is too long for sockets gets a short directory for them, and for nothing
    else, below the system's temporary one; its name is the same each time.
    """

    project: Path

    @property
    def root(self) -> Path:
        return self.project / ".run"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def sockets(self) -> Path:
        if len(bytes(self.root)) <= _LONGEST_DIRECTORY:
            return self.root
        digest = hashlib.sha256(bytes(self.project)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"run-{digest}"

    def make_sockets_directory(self) -> None:
        """Create it for this account alone; raise ImproperlyConfigured if another owns it."""
        self.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.sockets.stat().st_uid != os.geteuid():
            raise ImproperlyConfigured(
                f"{self.sockets} belongs to another account, and sockets in there would be read by"
                " it: delete it, or move this project to a shorter path."
            )

    @property
    def configuration(self) -> Path:
        return self.root / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        return self.sockets / "supervisor.sock"

    @property
    def database_url(self) -> str:
        return f"postgresql://app@/app?host={quote(str(self.sockets))}"

    @property
    def broker_url(self) -> str:
        return f"redis+socket://{quote(str(self.sockets))}/broker.sock?virtual_host=0"

    @property
    def cache_url(self) -> str:
        return f"unix://{quote(str(self.sockets))}/cache.sock?db=0"


DEVELOPMENT = DevelopmentPaths(Path(__file__).resolve().parents[2])
