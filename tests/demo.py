# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's commands as a user runs them: `make demo` makes a site, and the others train on it and remove both.

What is run again changes nothing, but `make demo-train` begins a training anew, as it says. The site has a name of its own, so
that a demo of the user's stays as it is.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE = "gate-demo"
RECAP = re.compile(r"^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", re.MULTILINE)
BEGUN = time.monotonic()


def run(*command: str, **environment: str) -> str:
    """What it printed, which is shown as it comes. Ends the gate when it fails."""
    print(f"\n##### [{time.monotonic() - BEGUN:.0f} s] {' '.join(command)}", flush=True)
    variables = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", **environment}
    lines = []
    with subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                lines.append(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return "".join(lines)


def make(target: str) -> str:
    """Outside of the gate's Python environment, which would be taken for an interpreter to make another one with."""
    path = [part for part in os.environ["PATH"].split(os.pathsep) if not part.startswith(os.environ["VIRTUAL_ENV"])]
    return run("make", target, GPUFLEET_DEMO_SITE=SITE, PATH=os.pathsep.join(path), MAKEFLAGS="")


def plays(output: str) -> list[int]:
    """How much each playbook changed, in order. A run without any is an error, as is a host that failed."""
    found = []
    for recap in output.split("PLAY RECAP")[1:]:
        hosts = RECAP.findall(recap)
        if not hosts or any(int(number) for host in hosts for number in host[2:]):
            sys.exit(f"not every host came to the end:{recap[:1000]}")
        found.append(sum(int(host[1]) for host in hosts))
    if not found:
        sys.exit("no playbook ran")
    return found


def same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        sys.exit(f"{what}: {found}, and {wanted} was expected")


def trained(output: str, site: Path) -> None:
    """Refuses a training that did not tell loss and images/sec, or whose workers were not on two nodes."""
    end = output.rsplit("Tell how it went", maxsplit=1)[-1]
    found = {name: bool(re.search(rf'"{name}": \[\s*\d', end)) for name in ("loss", "images_per_second")}
    same("which numbers `make demo-train` told at its end", found, {"loss": True, "images_per_second": True})
    same("whether it told where the launcher's log is", "resnet50-launcher" in end, True)
    kubectl = "/usr/local/bin/kubectl --kubeconfig=/etc/kubernetes/admin.conf get events --field-selector=reason=Scheduled"
    asked = f"{kubectl} --sort-by=.metadata.creationTimestamp --output=custom-columns=M:.message"
    inventory = ["--inventory", str(site / "inventory")]
    said = run("ansible", "kube_control_plane[0]", *inventory, "--module-name=ansible.builtin.command", "--args", asked)
    last = re.findall(r"/(resnet50-worker-\d+) to (\S+)", said)[-2:]
    same("how many workers the last training had, and on how many nodes", [len(set(part)) for part in zip(*last)], [2, 2])


def main() -> None:
    make("demo-down")
    first = make("demo")
    if not plays(first)[0] or "The site is up: ok=true, 3 nodes" not in first:
        sys.exit("the first `make demo` changed nothing, or said nothing of a site that is up")
    ending = first[first.rindex("] the nodes\n") :]
    same("warnings that a user would wonder about", re.findall(r"^\[WARNING\].*", first, re.MULTILINE), [])
    same("nodes in the table at its end", len(re.findall(r"^ip-\S+ +Ready ", ending, re.MULTILINE)), 3)
    same("how to remove it, at its end", re.findall(r"remove it: +(make \S+)", ending), ["make demo-down"])
    shown = re.search(r"kubectl there: +(.*)", ending)
    pods = run("sh", "-c", shown[1] if shown else "echo it shows no kubectl line; false")
    same("whether the kubectl line at its end works", "kube-apiserver-ip-" in pods, True)
    same("what the playbooks of the second `make demo` changed", plays(make("demo")), [0, 0])

    site = Path(os.environ["GPUFLEET_CACHE"]) / "sites" / SITE
    trained(make("demo-train"), site)
    same("whether the launcher's log is kept", any((site / "logs").glob("resnet50-launcher-*.log")), True)
    second = make("demo-train")
    trained(second, site)
    operators, training = plays(second)
    same("what the second `make demo-train` changed of the operators", operators, 0)
    same("whether it trained anew", training > 0, True)
    wishes = ["--extra-vars", "@tests/testbed/training/demo.yml", "--extra-vars", "training_job_rerun=false"]
    again = run("ansible-playbook", "--inventory", str(site / "inventory"), "gpufleet.k8s.train_resnet50", *wishes)
    same("what the same training changed without training_job_rerun", plays(again), [0])

    removed = make("demo-untrain")
    same(
        "whether both playbooks of `make demo-untrain` removed something", [number > 0 for number in plays(removed)], [True, True]
    )
    same("what the second `make demo-untrain` changed", plays(make("demo-untrain")), [0, 0])
    make("demo-down")
    same("whether its folder is left", site.exists(), False)
    for kind in (("ps", "--all", "--format={{.Names}}"), ("volume", "ls", "--quiet"), ("network", "ls", "--format={{.Name}}")):
        listed = run("podman", *kind).split()
        same(f"what `podman {kind[0]}` has of it", [name for name in listed if name.startswith(f"gpufleet-{SITE}")], [])
    print(f"\ndemo, demo-train, demo-untrain and demo-down do what they say: {time.monotonic() - BEGUN:.0f} s")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is below also runs when the gate is stopped
    try:
        main()
    except BaseException:
        subprocess.run([ROOT / "tests/testbed/bed", "down", SITE], check=False)
        raise
