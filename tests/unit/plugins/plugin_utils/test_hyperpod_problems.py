# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What other roles would stumble over is refused with the names of the role hyperpod's own variables."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.hyperpod_problems import hyperpod_problems

PREFIX = "must have a DNS name of at most 253 lower-case characters before its only '/'"


def problems(content=b"{}", **input_):
    about = {"path": "/opt/x.json", "host": "head", "label_prefix": "gpufleet.io", **input_}
    return hyperpod_problems(base64.b64encode(content).decode(), **about)


@pytest.mark.parametrize(
    "input_",
    [{}, {"zone": None, "zone_id": None}, {"zone": "us-west-2-lax-1a", "zone_id": "usw2-lax1-az1"}, {"label_prefix": "x"}],
)
def test_what_is_fine(input_):
    assert problems(**input_) == []


@pytest.mark.parametrize(
    ("input_", "says"),
    [
        ({"zone": "us west 2a"}, "hyperpod_zone is 'us west 2a'; it must be at most 63 letters, digits"),
        ({"zone_id": "usw2 az1"}, "hyperpod_zone_id is 'usw2 az1', which is no id of an availability zone such as usw2-az1"),
        ({"zone_id": "usw2/az1"}, "hyperpod_zone_id is 'usw2/az1'"),
        ({"zone_id": 7}, "hyperpod_zone_id is '7'"),
        ({"label_prefix": "gpu fleet"}, f"hyperpod_label_prefix is 'gpu fleet'; the label gpu fleet/instance-group {PREFIX}"),
        ({"label_prefix": ""}, "hyperpod_label_prefix is ''"),
        ({"content": b"{"}, "hyperpod_resource_config is /opt/x.json on head, and that is not JSON (Expecting property name"),
        ({"content": b"\xff\xff\xff"}, "that is not JSON ("),
        ({"content": b""}, "that is not JSON ("),
        ({"content": b"[]"}, "hyperpod_resource_config is /opt/x.json on head, and that is JSON, but not an object"),
    ],
)
def test_what_is_refused(input_, says):
    (problem,) = problems(**input_)
    assert says in problem
