# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many small files read by one command."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: grep_files
short_description: Reads many files from the output of one C(grep)
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Reads what C(grep -sHr '' FILE...) prints. That is one call for all the files that a role wants to see, however many they
    are and whether they exist or not.
  - A file that is missing or empty is not in the result. A file name must not contain a colon.
positional: _input
options:
  _input:
    description: The output.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Ask
  ansible.builtin.command:
    argv: [grep, -sH, '', /proc/swaps, /proc/sys/net/ipv4/ip_forward, /etc/containerd/config.toml]
  register: files
  changed_when: false
  failed_when: files.rc > 2

- name: Answer
  ansible.builtin.debug:
    msg: "{{ (files.stdout | gpufleet.k8s.grep_files)['/proc/sys/net/ipv4/ip_forward'] }}"
"""

RETURN = r"""
_value:
  description: File name to content. Every line ends in a newline, also the last one.
  type: dict
"""


def grep_files(text: str) -> dict[str, str]:
    """`{path: content}`."""
    files: dict[str, str] = {}
    for line in str(text).split("\n"):
        path, colon, content = line.partition(":")
        if colon and path.startswith("/"):
            files[path] = files.get(path, "") + content + "\n"
    return files


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"grep_files": grep_files}
