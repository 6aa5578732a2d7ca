# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a sysctl is."""

from __future__ import annotations


def sysctl_path(name: str) -> str:
    """`net.ipv4.conf.eth0/1.rp_filter` -> `/proc/sys/net/ipv4/conf/eth0.1/rp_filter`."""
    return "/proc/sys/" + str(name).translate({ord("."): "/", ord("/"): "."})
