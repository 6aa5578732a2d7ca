# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""to_toml against the standard library's reader: whatever is written must be read as what it was."""

from __future__ import annotations

import datetime

import pytest
import tomllib
from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.from_toml import from_toml
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.to_toml import to_toml
from hypothesis import given
from hypothesis import strategies as st

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
scalar = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    text,
    st.datetimes(timezones=st.sampled_from([None, datetime.timezone.utc])),
    st.dates(),
)
value = st.recursive(
    scalar, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)), max_leaves=20
)
document = st.dictionaries(text, value, max_size=6)


@given(document)
def test_what_is_written_is_read_as_it_was(wished):
    assert tomllib.loads(to_toml(wished)) == wished


@given(document)
def test_the_order_of_keys_does_not_matter(wished):
    assert to_toml(dict(reversed(list(wished.items())))) == to_toml(wished)


def test_it_looks_like_a_file_that_a_person_wrote():
    wished = {
        "version": 4,
        "plugins": {
            "io.containerd.cri.v1.runtime": {"enable_cdi": True, "cdi_spec_dirs": ["/etc/cdi"], "containerd": {"runtimes": {}}}
        },
        "imports": ["/etc/containerd/conf.d/*.toml"],
    }
    assert to_toml(wished) == (
        'imports = ["/etc/containerd/conf.d/*.toml"]\n'
        "version = 4\n"
        "\n"
        '[plugins."io.containerd.cri.v1.runtime"]\n'
        'cdi_spec_dirs = ["/etc/cdi"]\n'
        "enable_cdi = true\n"
        "\n"
        '[plugins."io.containerd.cri.v1.runtime".containerd.runtimes]\n'
    )


def test_values_of_playbooks_are_subclasses():
    class Tagged(int):
        """As ansible-core makes of every integer in YAML."""

    assert to_toml({"version": Tagged(4), "most": Tagged(2**63 - 1)}) == "most = 9223372036854775807\nversion = 4\n"


def test_an_empty_document_is_an_empty_file():
    assert to_toml({}) == ""


@pytest.mark.parametrize(
    ("wished", "message"),
    [
        ({"plugins": {"a.b": {"key": None}}}, 'plugins."a.b".key: TOML has no null; leave the key out or give it a value'),
        ({"list": [1, {"key": None}]}, "list.1.key: TOML has no null"),
        ({"size": 2**63}, "size: 9223372036854775808 does not fit into 64 bits"),
        ({"set": {1, 2}}, "set: TOML has no set"),
        ({1: 2}, "the document: its key 1 is a int; TOML keys are strings"),
        ({"text": "\ud800"}, "text: it is no valid text"),
        (["no", "dictionary"], "the input is a list, not a dictionary"),
    ],
)
def test_what_toml_cannot_hold_is_named(wished, message):
    with pytest.raises(AnsibleFilterError) as error:
        to_toml(wished)
    assert message in str(error.value)


def test_from_toml_says_where_it_is_wrong():
    with pytest.raises(AnsibleFilterError, match=r"from_toml: .*line 2"):
        from_toml("a = 1\nb =\n")
    with pytest.raises(AnsibleFilterError, match="the input is a int, not a string"):
        from_toml(1)
