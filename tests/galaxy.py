# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the collection and lets galaxy-importer judge it, as Galaxy would on upload."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 20 * 2**20  # bytes; the community package takes nothing larger

with tempfile.TemporaryDirectory() as folder:
    subprocess.run(["ansible-galaxy", "collection", "build", "--output-path", folder], check=True)
    (built,) = Path(folder).glob("*.tar.gz")
    size = built.stat().st_size
    if size > LIMIT:
        sys.exit(f"{built.name} has {size} bytes, {LIMIT} are allowed: add to build_ignore in galaxy.yml")
    settings = Path(folder) / "importer.cfg"
    settings.write_text(
        "[galaxy-importer]\nCHECK_REQUIRED_TAGS = True\nCHECK_RUNTIME_YAML = True\nRUN_ANSIBLE_LINT = False\nRUN_FLAKE8 = False\n"
    )
    judged = subprocess.run(
        [sys.executable, "-m", "galaxy_importer.main", str(built)],
        env={**os.environ, "GALAXY_IMPORTER_CONFIG": str(settings)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(judged.stdout + judged.stderr)
    if judged.returncode or "ERROR" in judged.stderr:
        sys.exit("galaxy-importer refuses the collection, see above")
    print(f"{built.name}: {size} bytes, accepted")
