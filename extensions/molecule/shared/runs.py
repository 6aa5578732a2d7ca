# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a playbook several times, one run after the other, and judges each: python3 runs.py INVENTORY PLAYBOOK, a list on stdin.

    {"input": {...},          extra variables
     "tags": "install",       of those tags only
     "limit": "kube_node[0]", on those hosts only
     "check": true,           a dry run
     "rc": 2,                 the exit status that it must have, if not 0
     "changed": true,         whether something changed on a host; or the hosts on which something did, all of them
     "says": ["..."],         what its output must contain; white space there counts as one space
     "silent": ["..."]}       what it must not contain

Each run is `ansible-playbook` in a process of its own, as from a shell, but a fork of this one, which has loaded Ansible; packed
modules are kept from run to run. Both together are most of what a run costs that is refused at once. The first run that is not as
it must be is shown, with exit status 1.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import tempfile
import time
import typing as t

os.environ.update(ANSIBLE_FORCE_COLOR="0", ANSIBLE_NOCOLOR="1")  # before Ansible is loaded, which reads it then

from ansible.cli import playbook

for name in ("executor.task_queue_manager", "plugins.connection.ssh", "plugins.strategy.linear"):
    importlib.import_module(f"ansible.{name}")  # so that the forks have it


def run(argv: list[str]) -> tuple[int, str]:
    """(exit status, output) of ansible-playbook."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            status = 250  # what Ansible gives for an error that it did not expect
            try:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                playbook.main(["ansible-playbook", *argv])
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)  # the packed modules are the parent's to remove
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        return status, output.read().decode(errors="replace")


def arguments(inventory: str, play: str, wanted: dict[str, t.Any]) -> list[str]:
    more = [f"--{option}={wanted[option]}" for option in ("tags", "limit") if wanted.get(option)]
    more += ["--check"] if wanted.get("check") else []
    return [f"--inventory={inventory}", f"--extra-vars={json.dumps(wanted['input'])}", *more, play]


def complaint(wanted: dict[str, t.Any], status: int, said: str) -> str:
    """How a run is not as it must be; empty if it is."""
    words, hosts = re.sub(r"\s+", " ", said), re.findall(r"^(\S+) +: ok=.* changed=[1-9]", said, re.MULTILINE)
    problems = [f"it did not say {text!r}" for text in wanted.get("says") or [] if str(text) not in words]
    problems += [f"it said {text!r}" for text in wanted.get("silent") or [] if str(text) in words]
    if status != wanted.get("rc", 0):
        problems.append(f"it ended with {status}, not {wanted.get('rc', 0)}")
    changed = wanted["changed"]
    if (sorted(hosts) != sorted(changed)) if isinstance(changed, list) else (bool(hosts) != changed):
        problems.append(f"it changed {', '.join(hosts) or 'nothing'}")
    return ", ".join(problems)


def main() -> int:
    inventory, play = sys.argv[1:]
    for wanted in json.load(sys.stdin):
        begin, argv = time.monotonic(), arguments(inventory, play, wanted)
        status, said = run(argv)
        if problems := complaint(wanted, status, said):
            print(f"{said}\nansible-playbook {' '.join(argv)}: {problems}")
            return 1
        print(f"{time.monotonic() - begin:.1f} s: {' '.join(argv[1:-1])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
