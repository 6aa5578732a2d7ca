# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many small files read by one command."""

from __future__ import annotations


def grep_files(text: str) -> dict[str, str]:
    """`{path: content}`."""
    files: dict[str, str] = {}
    for line in str(text).split("\n"):
        path, colon, content = line.partition(":")
        if colon and path.startswith("/"):
            files[path] = files.get(path, "") + content + "\n"
    return files
