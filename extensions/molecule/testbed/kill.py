# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`bed up` is killed in the middle, run again to its end, and taken down; nothing is left: python3 kill.py BED SITE."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

KINDS = {
    "containers": ("ps", "--all", "--format={{.Names}}"),
    "volumes": ("volume", "ls", "--quiet"),
    "networks": ("network", "ls", "--format={{.Name}}"),
}


def there(kind: str, site: str) -> list[str]:
    """What podman has of a site."""
    listed = subprocess.run(["podman", *KINDS[kind]], check=True, capture_output=True, text=True).stdout.split()
    return [name for name in listed if name.startswith(f"gpufleet-{site}")]


def main() -> None:
    bed, site = sys.argv[1:]
    up = [bed, "up", site, "--nodes", "1", "--plain"]
    first = subprocess.Popen(up, start_new_session=True)
    while not there("containers", site):
        with contextlib.suppress(subprocess.TimeoutExpired):
            sys.exit(f"`bed up` ended with {first.wait(0.1)} before it had made a container")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    try:
        subprocess.run(up, check=True)
        inventory = subprocess.run([bed, "inventory", site], check=True, capture_output=True, text=True).stdout.strip()
        subprocess.run(["ansible", "--inventory", inventory, "all", "--module-name=ansible.builtin.ping"], check=True)
    finally:
        subprocess.run([bed, "down", site], check=True)
    left = {kind: names for kind in KINDS if (names := there(kind, site))}
    if left:
        sys.exit(f"`bed down` left {left}")


if __name__ == "__main__":
    main()
