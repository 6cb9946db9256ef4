"""Sites made once: their hosts' files are layers under clones, which cost a boot each.

A golden site is keyed by what it is made from: the project's files and the foundation. Its
inventory and vault are kept with it: they hold the passwords that the hosts were given.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hosts.fleet import Fleet
from hosts.foundation import HERE, HostsError, cache, locked
from hosts.site import SEVERAL, Layout, Site, new_site

# Of these a provisioned site is made.
SOURCES = (
    "config/queues.yml",
    "deploy/ansible.cfg",
    "deploy/filter_plugins",
    "deploy/group_vars",
    "deploy/inventories/production",
    "deploy/provision.yml",
    "deploy/roles",
    "requirements/supervisor.txt",
)
KEPT = 3


@dataclass(frozen=True)
class Recipe:
    """How a golden site is made of bare hosts, once.

    name: of the kind. make: called with a new site. layout: its hosts and their groups. sources:
    the files and folders of the project that the result depends on.
    """

    name: str
    make: Callable[[Site], None]
    layout: Layout = field(default_factory=lambda: SEVERAL)
    sources: Sequence[str] = SOURCES


def provision(site: Site) -> None:
    """Run provision.yml. Raises HostsError, with the output, if that fails."""
    run = site.playbook("provision.yml")
    if run.returncode:
        raise HostsError(f"provision.yml failed:\n{run.output[-5000:]}")


PROVISIONED = Recipe("provisioned", provision)


def clone(recipe: Recipe, project: Path, fleet: Fleet) -> Site:
    """Return a running clone of a golden site; the first time, that is made."""
    key = _key(recipe, project, fleet)
    folder = cache() / "golden" / f"{recipe.name}-{key}"
    with locked(cache() / f"{folder.name}.lock"):
        if not folder.exists():
            _make(folder, recipe, project, fleet)
        os.utime(folder)
    target = fleet.folder / "project" / project.name
    shutil.copytree(project, target, symlinks=True)
    site = Site(target, fleet, recipe.layout)
    for kept in (site.inventory, site.password_file.parent):
        shutil.copytree(folder / "kept" / kept.name, kept)
    for name in recipe.layout:
        fleet.host(name, folder / "layers" / name).start()
    site.write_inventory()
    site.write_variables()
    return site


def _make(folder: Path, recipe: Recipe, project: Path, fleet: Fleet) -> None:
    site = new_site(project, fleet, recipe.layout)
    recipe.make(site)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "layers").mkdir(mode=0o700, parents=True)
    for name in recipe.layout:
        host = fleet.hosts[name]
        host.stop()
        # `cp` keeps what an overlay notes in extended attributes.
        command = ["cp", "--archive", str(host.upper), str(unfinished / "layers" / name)]
        subprocess.run(command, check=True)
        host.destroy()
    for kept in (site.inventory, site.password_file.parent):
        shutil.copytree(kept, unfinished / "kept" / kept.name)
    shutil.rmtree(site.folder.parent)
    unfinished.rename(folder)
    _forget_old(folder)


def _key(recipe: Recipe, project: Path, fleet: Fleet) -> str:
    # The addresses are part of what is configured, and each of a machine's fleets has its own.
    where = f"{fleet.foundation.folder} {fleet.address(0)} {recipe.layout}"
    digest = hashlib.sha256(where.encode())
    paths = [HERE / "site.py", *sorted((HERE / "drill").rglob("*.py"))]
    for source in recipe.sources:
        found = project / source
        paths += sorted(found.rglob("*")) if found.is_dir() else [found]
    for path in paths:
        if path.is_file() and "__pycache__" not in path.parts and ".venv" not in path.parts:
            digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _forget_old(folder: Path) -> None:
    """Keep the newest few of a kind: each is some hundred MB."""
    kind = re.sub(r"-\w+$", "", folder.name)
    same = sorted(folder.parent.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)
    for old in same[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
