# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""keys_ignored: what a program dropped."""

from __future__ import annotations

from ansible_collections.gpufleet.k8s.plugins.plugin_utils.keys_ignored import keys_ignored
from hypothesis import given
from hypothesis import strategies as st

tree = st.recursive(
    st.integers(1, 9), lambda inner: st.dictionaries(st.text("ab.", min_size=1, max_size=3), inner), max_leaves=12
)


@given(st.dictionaries(st.text("ab.", min_size=1, max_size=3), tree))
def test_nothing_is_ignored_of_what_is_all_there(wished):
    assert keys_ignored(wished, wished) == []


def test_missing_keys_are_named_with_their_path():
    wished = {"plugins": {"io.x.v1": {"cdi": True, "cdy": True, "deep": {"er": 1}}}, "oom": 1}
    effective = {"plugins": {"io.x.v1": {"cdi": False, "other": 3, "deep": {}}}}
    assert keys_ignored(wished, effective) == ["plugins['io.x.v1'].cdy", "plugins['io.x.v1'].deep.er", "oom"]


def test_an_empty_value_may_be_left_out():
    assert keys_ignored({"a": "", "b": False, "c": [], "d": {}}, {}) == []
