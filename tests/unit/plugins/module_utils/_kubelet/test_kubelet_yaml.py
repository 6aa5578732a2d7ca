# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's YAML reader against PyYAML, which the controller has."""

from __future__ import annotations

import typing as t

import pytest
import yaml as pyyaml
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import yaml
from hypothesis import given
from hypothesis import strategies as st
from kubelet_cases import KUBEADM


def test_what_kubeadm_writes() -> None:
    assert yaml.load(KUBEADM) == pyyaml.safe_load(KUBEADM)


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "---\n", "a: 1\n", '{"a": [1, {"b": null}]}', "- 1\n- - 2\n  - 3\n- a: 1\n  b: 2\n", "a:\n- b:\n  - c\n"],
)
def test_shapes(text: str) -> None:
    assert yaml.load(text) == pyyaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1\n",
        "a: *x\n",
        "a: |\n  text\n",
        "a: !!str 1\n",
        "a: 1\n---\nb: 2\n",
        "a: one\n  two\n",
        "a: [1,\n  2]\n",
        "a: 'x\n  y'\n",
        "\ta: 1\n",
        "a: 010\n",
        "a: y\n",
        "a: 1_000\n",
        "a: 1\na: 2\n",
        "a: b: c\n",
        'a: "x" y\n',
        "<<: 1\na: <<\n",
    ],
)
def test_refused_rather_than_misread(text: str) -> None:
    with pytest.raises(ValueError, match="line "):
        yaml.load(text)


KEYS = st.from_regex(r"[a-zA-Z][a-zA-Z0-9./_-]{0,12}", fullmatch=True)
TEXT = st.text(st.characters(codec="ascii", min_codepoint=32), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(0.001, 1e6) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=5), st.booleans())
def test_reads_what_pyyaml_writes_or_refuses_it(value: dict[str, t.Any], flow: bool) -> None:
    text = pyyaml.safe_dump(value, default_flow_style=True if flow else None, width=1000)
    try:
        found = yaml.load(text)
    except ValueError:
        return  # some exotic scalar: refusing is right, misreading is not
    assert found == pyyaml.safe_load(text)


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=5))
def test_dump_is_read_back_by_both(value: dict[str, t.Any]) -> None:
    text = yaml.dump(value)
    assert pyyaml.safe_load(text) == value
    assert yaml.load(text) == value
