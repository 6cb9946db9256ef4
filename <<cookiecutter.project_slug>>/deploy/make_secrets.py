"""`make secrets ENV=production`: make an environment's vault with random secrets, or edit it.

    make_secrets.py INVENTORY PASSWORD_FILE

The vault belongs into git, encrypted. The file with its password does not: keep a copy where the
team keeps passwords, for without it the vault is lost. No secret is printed, and none is on a
command line.
"""

import os
import secrets
import subprocess
import sys
from pathlib import Path

ANSIBLE_VAULT = Path(sys.executable).with_name("ansible-vault")
TEMPLATE = """\
# Secrets of {environment}. `make secrets ENV={environment}` opens this file. A deploy brings
# a change to the hosts; a server's password also needs `make provision ENV={environment}`.

vault_secret_key: {random}
# Lets whoever asks /health/queues from outside in.
vault_health_token: {random}

# Servers of one's own.
vault_database_password: {random}
vault_broker_password: {random}
vault_cache_password: {random}
# Or managed ones.
# vault_database_url: postgresql://user:password@db.example.com:5432/name?sslmode=verify-full
# vault_broker_url: rediss://:password@broker.example.com:6379/0
# vault_cache_url: rediss://:password@cache.example.com:6379/0

# Where e-mail goes: submission://user:password@mail.example.com:587
vault_email_url: ""

# The key of nginx_certificate_file.
# vault_certificate_key: |
#   -----BEGIN PRIVATE KEY-----

# More variables of .env.example that are secret.
vault_more: {{}}
"""


def main(inventory: Path, password_file: Path) -> None:
    environment = inventory.name
    if not inventory.is_dir():
        sys.exit(f"error: there is no inventory {inventory}")
    vault = inventory / "group_vars" / "all" / "vault.yml"
    if vault.exists():
        if not password_file.exists():
            sys.exit(
                f"error: {vault} exists, and its password does not: put it into {password_file},"
                " or delete the vault to begin anew"
            )
        _ansible_vault("edit", vault, password_file)
        return
    if not password_file.exists():
        _write(password_file, secrets.token_urlsafe(32) + "\n")
    pieces = TEMPLATE.split("{random}")
    text = "".join(piece + secrets.token_urlsafe(48) for piece in pieces[:-1]) + pieces[-1]
    text = text.replace("{environment}", environment).replace("{{}}", "{}")
    _ansible_vault("encrypt", vault, password_file, text)
    sys.stdout.write(
        f"{vault}: made, with random secrets. Commit it; it is encrypted.\n"
        f"{password_file}: its password. Keep a copy elsewhere, and never commit it.\n"
        f"Missing: vault_email_url. `make secrets ENV={environment}` opens the vault again.\n"
    )
    if sys.stdin.isatty():
        _ansible_vault("edit", vault, password_file)


def _write(path: Path, text: str) -> None:
    """Nobody else may read the file, at no time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _ansible_vault(action: str, vault: Path, password_file: Path, text: str | None = None) -> None:
    command = [str(ANSIBLE_VAULT), action, "--vault-password-file", str(password_file)]
    command += [str(vault)] if text is None else ["--output", str(vault), "-"]
    output = None if text is None else subprocess.DEVNULL
    completed = subprocess.run(command, input=text, text=True, stdout=output, check=False)
    if completed.returncode:
        sys.exit(f"error: ansible-vault {action} failed: {completed.returncode}")


main(Path(sys.argv[1]), Path(sys.argv[2]))
