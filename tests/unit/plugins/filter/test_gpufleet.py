# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins import filter as package
from ansible_collections.gpufleet.k8s.plugins.filter.gpufleet import NAMES, FilterModule

FOLDER = Path(package.__path__[0])


def test_each_filter_has_its_function_and_its_documentation() -> None:
    assert set(NAMES) == {path.stem for path in FOLDER.glob("*.yml")}
    assert set(NAMES) == {path.stem for path in (FOLDER.parent / "plugin_utils").glob("[!_]*.py")}


@pytest.mark.parametrize("name", NAMES)
def test_each_is_found(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name}\(\) missing \d+ required"):
        FilterModule().filters()[name]()


def test_nothing_is_loaded_before_it_is_used() -> None:
    """ansible-core loads every file with filters again and again."""
    code = f"import sys; from {FilterModule.__module__} import FilterModule; FilterModule().filters(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "plugin_utils" not in loaded
