# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a node: what is written is read back as it was, and what cannot be read is said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import files
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from hypothesis import given
from hypothesis import strategies as st
from kubelet_cases import KUBEADM

SCALARS = st.none() | st.booleans() | st.integers() | st.sampled_from([0.5, 0.9, -2.25]) | st.text(st.characters(codec="ascii"))
WORDS = st.sampled_from(["on", "no", "1e9", "0o17", "1:30", "2024-01-01", "=", "<<", "~", ""])


def test_what_kubeadm_writes(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(KUBEADM)
    found = files.read(path)
    assert found["evictionHard"] == {"memory.available": "100Mi", "nodefs.available": "10%"}
    assert found["nothing"] is None


@given(st.dictionaries(st.text("abc.", min_size=1), st.recursive(SCALARS | WORDS, st.lists, max_leaves=5)))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "drop-in.conf"
    path.write_text(files.text(content, "managed"))
    assert files.read(path) == content


def test_what_is_no_yaml_is_said_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "broken.conf"
    path.write_text("a: [1\nb: 2\n")
    with pytest.raises(ValueError, match="line 2"):
        files.read(path)


def test_a_node_without_pyyaml_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(KUBEADM)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(PlanError, match=r"no PyYAML, and .*config\.yaml is YAML; install the package python3-yaml"):
        files.read(path)
