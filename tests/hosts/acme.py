"""An authority that speaks ACME, as Let's Encrypt does: serles, beside the hosts of a test."""

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hosts import ansible
from hosts.deploys import wait
from hosts.fleet import Fleet, Host
from hosts.foundation import HERE

CONFIG = """\
[serles]
database = sqlite:///{folder}/orders.db
backend = acme_backend:Backend
subjectNameTemplate = CN={{SAN[0]}}
[authority]
certificate = {folder}/authority.pem
key = {folder}/authority.key
"""


@dataclass(frozen=True)
class Authority:
    """url: of its directory. certificate: a file, to trust what it signs."""

    url: str
    certificate: Path


@contextmanager
def authority(fleet: Fleet, names: Mapping[str, Host], folder: Path) -> Iterator[Authority]:
    """Run one for which each of the names leads to a host; its files lie in the folder."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"),
            *("-subj", "/CN=authority", "-keyout", "authority.key", "-out", "authority.pem"),
        ],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    (folder / "serles.ini").write_text(CONFIG.format(folder=folder))
    lines = ["127.0.0.1 localhost", *(f"{host.address} {name}" for name, host in names.items())]
    (folder / "hosts").write_text("\n".join([*lines, ""]))
    listening = socket.create_server((fleet.address(1), 0))
    port = listening.getsockname()[1]
    # It looks names up in /etc/hosts, and sees one of its own.
    script = 'mount --bind "$1" /etc/hosts; shift; exec "$@"'
    command = ["unshare", "--mount", "sh", "-ec", script, "sh", str(folder / "hosts")]
    command += [str(ansible.environment() / "bin/gunicorn"), "--bind", f"fd://{listening.fileno()}"]
    command += ["--threads", "4", "--pythonpath", str(HERE), "serles:create_app()"]
    log = folder / "authority.log"
    with log.open("w") as output, listening:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "CONFIG": str(folder / "serles.ini"), "PYTHONWARNINGS": ""},
            pass_fds=[listening.fileno()],
        )
        try:
            wait(lambda: "Booting worker" in log.read_text(), "the authority does not start", 60)
            yield Authority(f"http://{fleet.address(1)}:{port}/directory", folder / "authority.pem")
        finally:
            process.terminate()
            process.wait()
