"""`preflight`: what would go wrong later, each finding a sentence; no finding holds a secret."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

# Of `ansible-core`; what the roles were run with.
ANSIBLE = "2.19"
# Seconds that supervisord waits beyond a queue's hard limit: reliable/supervisor/programs.py.
STOP_MARGIN = 30
SECRET_LENGTH = 16
WEB_PROCESSES = 3

Host = Mapping[str, Any]
Hosts = Mapping[str, Host]
Groups = Mapping[str, Sequence[str]]
Queues = Mapping[str, Mapping[str, Any]]
Options = Mapping[str, Any]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"preflight": preflight}


def preflight(
    hosts: Hosts, names: Sequence[str], groups: Groups, queues: Queues, options: Options
) -> list[str]:
    """Return the findings. `names` are the hosts to look at, with their facts in `hosts`."""
    return [
        *_groups(groups),
        *_queues(hosts, groups, queues),
        *_stop_waits(hosts, groups, queues),
        *_versions(hosts, names, options),
        *_room(hosts, names, queues, options),
        *_secrets(options),
        *_certificates(hosts, groups),
        *_servers(options),
    ]


def _groups(groups: Groups) -> Iterator[str]:
    needs = {
        "web": "no host serves the site",
        "workers": "no task runs",
        "relay": "no durable task is published",
        "beat": "nothing is scheduled and no queue is probed",
    }
    for group, consequence in needs.items():
        if not groups.get(group):
            yield f"The group {group} of the inventory is empty, so {consequence}: add a host."


def _queues(hosts: Hosts, groups: Groups, queues: Queues) -> Iterator[str]:
    workers = groups.get("workers", [])
    read = {queue for name in workers for queue in _queues_of(hosts[name], queues)}
    known = ", ".join(queues)
    for queue in queues:
        if workers and queue not in read:
            yield (
                f"The queue {queue} has no worker on any host: add it to `queues` of a host in"
                " workers, or remove that list from one."
            )
    for name in workers:
        overrides = hosts[name].get("concurrency") or {}
        for variable, listed in (("queues", hosts[name].get("queues")), ("concurrency", overrides)):
            for queue in listed or []:
                if queue not in queues:
                    yield (
                        f"{name}: `{variable}` names {queue}, which config/queues.yml does not"
                        f" declare; declared: {known}."
                    )
        for queue, number in overrides.items():
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                yield (
                    f"{name}: `concurrency` of {queue} is {number}; write a number of processes,"
                    f" for example concurrency: {{{queue}: 4}}."
                )


def _queues_of(host: Host, queues: Queues) -> Sequence[str]:
    return host.get("queues") or list(queues)


def _stop_waits(hosts: Hosts, groups: Groups, queues: Queues) -> Iterator[str]:
    for name in groups.get("workers", []):
        host = hosts[name]
        declared = [queue for queue in _queues_of(host, queues) if queue in queues]
        if not declared:
            continue
        queue = max(declared, key=lambda each: int(queues[each]["time_limit"]))
        limit = int(queues[queue]["time_limit"])
        stop = host.get("supervisor_stop_seconds")
        if stop is not None and int(stop) <= limit + STOP_MARGIN:
            yield (
                f"{name}: supervisor_stop_seconds is {stop}, but a task of the queue {queue} may"
                f" run for {limit} s, and a stop of the host would kill it; write at least"
                f" {limit + 2 * STOP_MARGIN}, or leave it out."
            )
        visibility = (host.get("settings_more") or {}).get("VISIBILITY_TIMEOUT")
        if visibility is not None and int(visibility) <= limit:
            yield (
                f"{name}: VISIBILITY_TIMEOUT in settings_more is {visibility}, but a task of the"
                f" queue {queue} may run for {limit} s, and would run again and again; write more"
                f" than {limit}, or leave it out."
            )


def _versions(hosts: Hosts, names: Sequence[str], options: Options) -> Iterator[str]:
    if _version(options["ansible"]) < _version(ANSIBLE):
        yield (
            f"This is ansible-core {options['ansible']}, and {ANSIBLE} or newer is needed: use the"
            " one that make installs, deploy/.venv/bin/ansible-playbook."
        )
    systems = options["systems"]
    for name in names:
        facts = hosts[name]["ansible_facts"]
        system, version = facts["distribution"], str(facts["distribution_version"])
        releases = systems.get(system, [])
        if not any(version == each or version.startswith(f"{each}.") for each in releases):
            known = ", ".join(f"{each} {' or '.join(systems[each])}" for each in systems)
            yield f"{name} runs {system} {version}, and the roles are written for {known}."
        python = str(facts["python_version"])
        if _version(python) < _version(options["python"]):
            yield f"{name} has Python {python}, and {options['python']} or newer is needed."


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in str(text).split(".")[:2] if part.isdigit())


def _room(hosts: Hosts, names: Sequence[str], queues: Queues, options: Options) -> Iterator[str]:
    for name in names:
        host = hosts[name]
        processes = _processes(host, queues)
        data = bool({"postgresql", "redis"} & set(host["group_names"]))
        needed = (
            int(processes * options["process_mb"] * options["drain_factor"])
            + options["data_mb"] * data
            + options["system_mb"]
        )
        memory = int(host["ansible_facts"]["memtotal_mb"])
        if memory < needed:
            yield (
                f"{name} has {memory} MB of memory and needs {needed}: {processes} processes,"
                f" {options['drain_factor']} times while an old generation drains beside the new"
                " one; give it more, or fewer processes with `concurrency`."
            )
        free = int(str(host["preflight_df"]["stdout_lines"][-1]).strip())
        if free < options["disk_mb"]:
            yield (
                f"{name} has {free} MB of free disk at /srv and needs {options['disk_mb']}: delete"
                " something, or give it a larger disk."
            )


def _processes(host: Host, queues: Queues) -> int:
    """Count those of one generation: a worker is a parent and its children."""
    groups = host["group_names"]
    overrides: Mapping[str, int] = host.get("concurrency") or {}
    count = WEB_PROCESSES * ("web" in groups) + ("relay" in groups) + ("beat" in groups)
    if "workers" in groups:
        for queue in _queues_of(host, queues):
            declared = queues.get(queue, {}).get("concurrency", 1)
            count += 1 + int(overrides.get(queue) or declared)
    return count


def _secrets(options: Options) -> Iterator[str]:
    run = f"run `make secrets ENV={options['environment']}`"
    for name, value in options["secrets"].items():
        if not value:
            yield f"{name} is not set: {run}."
        elif len(value) < SECRET_LENGTH and not name.endswith("_url"):
            yield (
                f"{name} has {len(value)} characters, and a secret needs {SECRET_LENGTH}: {run}."
            )
        if "'" in value or "\n" in value:
            yield (
                f"{name} holds a quote or a line break, which the file of variables cannot hold;"
                " in an address write %27 for a quote."
            )


def _certificates(hosts: Hosts, groups: Groups) -> Iterator[str]:
    for name in groups.get("web", []):
        host = hosts[name]
        file = host.get("nginx_certificate_file")
        if not file and not host.get("nginx_acme_email"):
            yield (
                f"{name} has no certificate: set nginx_acme_email, or nginx_certificate_file with"
                " vault_certificate_key, in group_vars/all/vars.yml of the inventory."
            )
        elif file and not host.get("vault_certificate_key"):
            yield (
                f"{name}: nginx_certificate_file is given without its key: put it into the vault as"
                " vault_certificate_key."
            )
    yield from _shared_names(hosts, groups)


def _shared_names(hosts: Hosts, groups: Groups) -> Iterator[str]:
    """An authority looks for its answer on one host, wherever a name of the site leads to."""
    asking: dict[str, list[str]] = {}
    for name in groups.get("web", []):
        host = hosts[name]
        if host.get("nginx_acme_email") and not host.get("nginx_certificate_file"):
            asking.setdefault(str(host.get("nginx_names")), []).append(name)
    for names in asking.values():
        if len(names) > 1:
            yield (
                f"{', '.join(names)} would each ask for a certificate of the same names, and the"
                " authority finds only one of them: get one elsewhere, and set"
                " nginx_certificate_file with vault_certificate_key, or nginx_names for each host."
            )


def _servers(options: Options) -> Iterator[str]:
    broker, cache = (_address(options[name]) for name in ("broker_url", "cache_url"))
    for name, (host, _) in (("broker", broker), ("cache", cache)):
        if not host:
            yield (
                f"There is no {name}: put a host into the group redis, or vault_{name}_url into"
                f" the vault with `make secrets ENV={options['environment']}`."
            )
    if broker == cache and broker[0]:
        yield (
            f"Broker and cache are one Redis server, {broker[0]}:{broker[1]}, and a full cache"
            " would evict the queues: name a second server in vault_cache_url."
        )


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url.strip())
    # unix:///run/redis.sock, or redis+socket:///run/redis.sock
    if parts.scheme == "unix" or parts.scheme.endswith("socket"):
        return parts.path, 0
    host = parts.hostname or ""
    return "127.0.0.1" if host == "localhost" else host, parts.port or 6379
