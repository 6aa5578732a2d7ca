# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lies on each node, whose Python loads it at its start: it keeps the compiled form of what comes in zip files.

Ansible sends each module in one, so Python compiles some forty files anew for each task on each host. That is most of a task's
CPU time on a node, and here all nodes share the controller's CPUs. What is compiled is kept under the hash of its source, for
all nodes of this machine. Benchmarks take it away.
"""

from __future__ import annotations

import _imp
import marshal
import os
import sys
import zipimport

FOLDER = "/var/cache/testbed-compiled"  # on a node
MODULE = "testbed_compiled"
PACKAGES = "usr/lib/python3/dist-packages"


def keep(folder: str = FOLDER) -> None:
    """From now on. Where the folder cannot be read or written, or holds something else, Python compiles as ever."""
    compile_source = zipimport._compile_source

    def kept(pathname: str, source: bytes) -> object:
        key = f"{sys.implementation.cache_tag}-{_imp.source_hash(0, source).hex()}-{len(source)}"
        path = os.path.join(folder, key)  # noqa: PTH118  pathlib alone takes as long as all of this
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                return marshal.loads(file.read())  # noqa: S302  only these nodes write there
        except (OSError, EOFError, ValueError, TypeError):
            pass
        code = compile_source(pathname, source)
        try:
            temporary = f"{path}.{os.uname().nodename}.{os.getpid()}"
            with open(temporary, "wb") as file:  # noqa: PTH123
                file.write(marshal.dumps(code))
            os.replace(temporary, path)  # noqa: PTH105
        except OSError:
            pass
        return code

    zipimport._compile_source = kept
