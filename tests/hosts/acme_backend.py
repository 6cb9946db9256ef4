"""How the authority of tests signs: serles loads this by its name."""

import subprocess
from configparser import ConfigParser
from pathlib import Path


class Backend:
    """Sign with openssl, for the names that are asked for: serles' own backend leaves them out."""

    def __init__(self, config: ConfigParser) -> None:
        self.certificate = config["authority"]["certificate"]
        self.key = config["authority"]["key"]

    def sign(self, csr: str | bytes, *_: object) -> tuple[str, None]:
        """Return the certificate and its authority's, as PEM, for a request as PEM."""
        command = ["openssl", "x509", "-req", "-days", "90", "-copy_extensions", "copy"]
        command += ["-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial"]
        asked = csr.encode() if isinstance(csr, str) else csr
        signed = subprocess.run(command, check=True, input=asked, capture_output=True).stdout
        return signed.decode() + Path(self.certificate).read_text(), None
