#!/usr/bin/python
"""Let one deploy at a time change a host."""

DOCUMENTATION = """
module: deploy_lock
short_description: Let one deploy at a time change a host
description:
  - The lock is a file that says who holds it, from where, and since when. Taking it is one atomic
    step; whoever comes second is told who was first.
options:
  path:
    description: The lock's file.
    required: true
    type: path
  state:
    description:
      - C(held) takes the lock, or fails and says who holds it.
      - C(free) gives it back if C(holder) has it.
      - C(read) only returns it.
      - C(broken) removes it, whoever holds it.
    choices: [held, free, read, broken]
    required: true
    type: str
  holder:
    description: Who takes it. C(id) tells holders apart; C(who), C(where), C(what) are for people.
    type: dict
  instead_of:
    description: The id of a holder that is known to be dead; its lock is taken over.
    type: str
"""

EXAMPLES = """
- name: Ensure that nobody else deploys
  deploy_lock:
    path: /srv/shop/lock
    state: held
    holder: {id: 20260131-183000, who: ann, where: laptop, what: a deploy}
"""

RETURN = """
lock:
  description: The holder and C(since), seconds since 1970; empty where nobody holds it.
  returned: always
  type: dict
"""

import fcntl  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import time  # noqa: E402
from collections.abc import Mapping  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"choices": ["held", "free", "read", "broken"], "required": True},
            "holder": {"type": "dict", "default": {}},
            "instead_of": {"type": "str"},
        },
        required_if=[("state", "held", ("holder",)), ("state", "free", ("holder",))],
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # Only one process of this host looks at the lock and changes it at a time.
        fcntl.flock(folder, fcntl.LOCK_EX)
        act(module, path, read(path))
    finally:
        os.close(folder)


def act(module: AnsibleModule, path: Path, lock: dict[str, Any]) -> None:
    state, holder = module.params["state"], module.params["holder"]
    ours = bool(lock) and lock.get("id") == holder.get("id")
    if state == "read" or (state == "held" and ours):
        module.exit_json(changed=False, lock=lock)
    if state == "held":
        if lock and lock.get("id") != module.params["instead_of"]:
            module.fail_json(msg=held_by(lock), lock=lock)
        lock = {**holder, "since": int(time.time())}
        if not module.check_mode:
            write(path, lock)
        module.exit_json(changed=True, lock=lock)
    leaves = bool(lock) if state == "broken" else ours
    if leaves and not module.check_mode:
        path.unlink()
    module.exit_json(changed=leaves, lock=lock)


def read(path: Path) -> dict[str, Any]:
    """What the lock says; empty if nobody holds it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        lock: dict[str, Any] = json.loads(text)
    except ValueError:
        return {"id": "", "who": "an unreadable file", "where": str(path), "since": 0}
    return lock


def write(path: Path, lock: Mapping[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(lock), encoding="utf-8")
    part.replace(path)


def held_by(lock: Mapping[str, Any]) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(lock.get("since", 0)))
    minutes = max(0, int(time.time() - lock.get("since", 0))) // 60
    return (
        f"{lock.get('who', 'somebody')} on {lock.get('where', 'another machine')} holds the lock"
        f" since {since}, for {minutes} minutes: {lock.get('what', 'a deploy')} {lock.get('id')}."
        " Wait for it; if it is dead, `make unlock` removes its lock."
    )


if __name__ == "__main__":
    main()
