# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bedlib/compiled.py does for nodes, for tests that run Ansible's modules on this very machine."""

from __future__ import annotations

import os
from pathlib import Path

from . import compiled
from .work import cache, write_atomic


def kept() -> Path:
    """Where compiled files are kept, those of nodes as well."""
    folder = cache() / "compiled"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def environment() -> dict[str, str]:
    """This process's, in which Pythons keep what they compile of modules: they load a sitecustomize at their start."""
    site = cache() / "compiled-site"
    write_atomic(site / "sitecustomize.py", f"{Path(compiled.__file__).read_text()}\n\nkeep({str(kept())!r})\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(site))))}
