# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line."""

from __future__ import annotations

import argparse
import os
import sys

from . import site
from .host import need_root
from .prepare import prepare
from .work import CLOCK, BedError, end_on_signals


def main() -> int:
    parser = argparse.ArgumentParser(prog="bed", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("prepare", help="prerequisites, artifact mirror, images and node image, in the cache")
    one.add_argument("--offline", action="store_true", help="build, without asking for releases")
    one.add_argument("--with", dest="parts", action="append", default=[], metavar="PART", help="a part of artifacts.toml, too")
    one.add_argument("--all", action="store_true", help="every part")
    one = commands.add_parser("up", help="a site: nodes and services; makes what is missing, keeps what is healthy")
    one.add_argument("site")
    one.add_argument("--nodes", type=int, help="how many nodes (default 3)")
    one.add_argument("--control-planes", type=int, help="how many of them, the first ones, are control planes (default 1)")
    one.add_argument("--plain", action="store_true", default=None, help="without a HyperPod host's files and data disk")
    one.add_argument("--offline", action="store_true", help="build, without asking for releases")
    one.add_argument("--with", dest="parts", action="append", default=[], metavar="PART", help="a part of artifacts.toml, too")
    one = commands.add_parser("down", help="removes a site and all that belongs to it")
    what = one.add_mutually_exclusive_group(required=True)
    what.add_argument("site", nargs="?")
    what.add_argument("--all", action="store_true", help="every site")
    one = commands.add_parser("ssh", help="a shell, or a command, on a node")
    one.add_argument("site")
    one.add_argument("node", help="host name, address, its last number, or 0 for the first")
    one.add_argument("remote", nargs=argparse.REMAINDER, metavar="COMMAND")
    one = commands.add_parser("inventory", help="prints a site's inventory folder, for ansible-playbook -i")
    one.add_argument("site")
    commands.add_parser("list", help="the sites that exist")
    asked = parser.parse_args()
    end_on_signals()
    os.umask(0o022)  # what goes into images is read by others than root there, whoever's umask made it
    try:
        need_root()
        if asked.command == "prepare":
            prepare(asked.parts, everything=asked.all, online=not asked.offline)
            CLOCK.summary("prepare")
        elif asked.command == "up":
            prepared = prepare(asked.parts, online=not asked.offline)
            site.up(asked.site, prepared, asked.nodes, asked.control_planes, asked.plain)
            CLOCK.summary("up")
        elif asked.command == "down":
            for name in site.known() if asked.all else [asked.site]:
                site.down(name)
        elif asked.command == "ssh":
            site.ssh(asked.site, asked.node, asked.remote)
        elif asked.command == "inventory":
            print(site.inventory_folder(asked.site))
        else:
            for name in site.known():
                print(site.describe(name))
    except BedError as error:
        print(f"bed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bed: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0
