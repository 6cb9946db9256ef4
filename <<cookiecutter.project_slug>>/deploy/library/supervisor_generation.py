#!/usr/bin/python
"""Start, drain, list and collect generations of programs under supervisord."""

DOCUMENTATION = """
module: supervisor_generation
short_description: Start, drain, list and collect generations of programs under supervisord
description:
  - A generation is the supervisor group C(generation-DEPLOY), declared in
    C(configuration/conf.d/DEPLOY.conf). Its name is new at each deploy, since supervisor can
    neither start, add nor remove a group that is still stopping.
  - Unlike community.general.supervisorctl it stops without waiting, and never calls a bare
    C(update), which aborts beside a group that is stopping.
options:
  socket:
    description: supervisord's unix socket.
    required: true
    type: path
  configuration:
    description: The folder in which C(conf.d/) and C(draining/) lie.
    required: true
    type: path
  state:
    description:
      - C(running) adds the generation and waits until each of its programs runs.
      - C(draining) tells it to stop and returns at once; after a reboot it does not come back.
      - C(collected) removes every generation that was draining and has ended.
      - C(listed) changes nothing.
    choices: [running, draining, collected, listed]
    default: listed
    type: str
  deploy:
    description: The deploy's id; needed for C(running) and C(draining).
    type: str
  content:
    description: With C(running), the text of C(conf.d/DEPLOY.conf), which is written first.
    type: str
  group:
    description: With C(content), the group that may read the file.
    type: str
  keep:
    description: Programs that a drain leaves running, such as the worker of a queue that is gone.
    elements: str
    default: []
    type: list
  program:
    description: With C(running), a single program outside of the generations, instead of C(deploy).
    type: str
  restart:
    description: With C(program), whether it is ended and added again if it is there.
    default: false
    type: bool
  timeout:
    description: Seconds to wait for C(running).
    default: 60
    type: int
"""

EXAMPLES = """
- name: Ensure the new generation runs
  supervisor_generation:
    socket: /srv/shop/run/supervisor.sock
    configuration: /etc/shop/supervisor
    deploy: 20260131-183000
    state: running
"""

RETURN = """
generations:
  description: Deploy id to program to state, pid, since (seconds since 1970) and description.
  returned: always
  type: dict
collected:
  description: The ids of the generations that were removed.
  returned: with state=collected
  type: list
"""

from collections.abc import Mapping  # noqa: E402
from typing import Any  # noqa: E402
from xmlrpc.client import Fault  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.generations import Failed, Supervisor  # noqa: E402


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "required": True},
            "configuration": {"type": "path", "required": True},
            "state": {
                "choices": ["running", "draining", "collected", "listed"],
                "default": "listed",
            },
            "deploy": {"type": "str"},
            "content": {"type": "str"},
            "group": {"type": "str"},
            "program": {"type": "str"},
            "restart": {"type": "bool", "default": False},
            "keep": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[
            ("state", "running", ("deploy", "program"), True),
            ("state", "draining", ("deploy",)),
        ],
        required_together=[("content", "group")],
        mutually_exclusive=[("deploy", "program")],
        supports_check_mode=True,
    )
    supervisor = Supervisor(module.params["socket"], module.params["configuration"])
    try:
        result = act(supervisor, module.params, check=module.check_mode)
        result["generations"] = supervisor.generations()
    except Failed as failed:
        module.fail_json(msg=str(failed))
    except Fault as fault:
        module.fail_json(msg=f"supervisord refuses: {fault.faultString}")
    module.exit_json(**result)


def act(supervisor: Supervisor, wanted: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Do it, or only say with `check` whether there is something to do."""
    state, deploy, program = wanted["state"], wanted["deploy"], wanted["program"]
    changed, more = False, {}
    if state == "running" and program:
        changed = wanted["restart"]
        if not check:
            changed = supervisor.keep(program, restart=wanted["restart"])
    elif state == "running":
        changed = not supervisor.programs(deploy)
        if not check:
            if wanted["content"]:
                supervisor.declare(deploy, wanted["content"], wanted["group"])
            changed = supervisor.start(deploy, wanted["timeout"])
    elif state == "draining":
        changed = (supervisor.running / f"{deploy}.conf").exists()
        if not check:
            changed = supervisor.drain(deploy, wanted["keep"])
    elif state == "collected":
        more["collected"] = [] if check else supervisor.collect()
        changed = bool(more["collected"])
    return {"changed": changed, **more}


if __name__ == "__main__":
    main()
