#!/usr/bin/python
"""Keep what each deploy did on a host."""

DOCUMENTATION = """
module: deploy_record
short_description: Keep what each deploy did on a host
description:
  - A deploy's record is C(FOLDER/DEPLOY.json). Its C(result) is C(started) until the deploy has
    ended; a record that still says so belongs to one that was cut off.
options:
  folder:
    description: Where the records lie.
    required: true
    type: path
  deploy:
    description: The deploy's id; without it nothing is written.
    type: str
  values:
    description: What to set in the record.
    default: {}
    type: dict
  keep:
    description: How many records to keep; 0 keeps all.
    default: 0
    type: int
"""

EXAMPLES = """
- name: Ensure the record says that the deploy succeeded
  deploy_record:
    folder: /srv/shop/deploys
    deploy: 20260131-183000
    values: {result: succeeded}
"""

RETURN = """
records:
  description: Every record, the newest first.
  returned: always
  type: list
"""

import json  # noqa: E402
from collections.abc import Mapping  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "deploy": {"type": "str"},
            "values": {"type": "dict", "default": {}},
            "keep": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    folder, deploy = Path(module.params["folder"]), module.params["deploy"]
    changed = False
    if deploy:
        old = read(folder / f"{deploy}.json")
        new = {**old, "deploy": deploy, **module.params["values"]}
        changed = new != old
        if changed and not module.check_mode:
            write(folder / f"{deploy}.json", new)
    found = sorted(folder.glob("*.json"), reverse=True)
    if module.params["keep"]:
        for path in found[module.params["keep"] :]:
            changed = True
            if not module.check_mode:
                path.unlink()
        found = found[: module.params["keep"]]
    module.exit_json(changed=changed, records=[each for path in found if (each := read(path))])


def read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record


def write(path: Path, record: Mapping[str, Any]) -> None:
    """By rename: a host that loses its power keeps the old record or has the new one."""
    part = path.with_suffix(".part")
    part.touch(mode=0o600)  # why a deploy failed may quote anything
    part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    main()
