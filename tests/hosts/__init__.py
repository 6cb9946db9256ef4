"""Debian hosts without Docker or systemd, on which the playbooks of `deploy/` are run."""
