# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""registry_hosts: order, credentials, and errors that name the entry but never a password."""

from __future__ import annotations

import base64
import re

import pytest
import tomllib
from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.registry_hosts import registry_hosts

DIR = "/etc/containerd/certs.d"


def test_mirrors_are_tried_in_the_order_given():
    files = registry_hosts(
        {"docker.io": ["https://z.example.com", "http://a.example.com:5000"], "_default": ["https://m.example.com"]}, DIR
    )
    assert sorted(files) == [f"{DIR}/_default/hosts.toml", f"{DIR}/docker.io/hosts.toml"]
    assert re.findall(r'^\[host\."(.*)"\]$', files[f"{DIR}/docker.io/hosts.toml"], re.M) == [
        "https://z.example.com",
        "http://a.example.com:5000",
    ]
    hosts = tomllib.loads(files[f"{DIR}/docker.io/hosts.toml"])["host"]
    assert hosts["https://z.example.com"] == {"capabilities": ["pull", "resolve"]}


def test_everything_an_endpoint_can_say():
    endpoint = {
        "url": "https://mirror.example.com/v2/docker",
        "capabilities": ["pull"],
        "skip_verify": True,
        "ca": "/etc/ssl/mirror.pem",
        "override_path": True,
        "username": "robot",
        "password": "geheim",
    }
    (text,) = registry_hosts({"registry.example.com:5000": [endpoint]}, DIR).values()
    assert tomllib.loads(text)["host"] == {
        "https://mirror.example.com/v2/docker": {
            "capabilities": ["pull"],
            "skip_verify": True,
            "ca": "/etc/ssl/mirror.pem",
            "override_path": True,
            "header": {"Authorization": "Basic " + base64.b64encode(b"robot:geheim").decode()},
        }
    }


@pytest.mark.parametrize(
    ("mirrors", "message"),
    [
        (["docker.io"], "registry mirrors is a list; it must be a dictionary"),
        ({"https://docker.io": ["http://m"]}, "registry mirrors['https://docker.io'] is no registry host"),
        ({"../etc": ["http://m"]}, "registry mirrors['../etc'] is no registry host"),
        ({"docker.io": "http://m"}, "registry mirrors['docker.io'] must be a list"),
        ({"docker.io": []}, "registry mirrors['docker.io'] must be a list of at least one endpoint"),
        ({"docker.io": ["m:5000"]}, "registry mirrors['docker.io'][0].url 'm:5000' is no http:// or https:// URL"),
        ({"docker.io": ["http://m", "http://m"]}, "registry mirrors['docker.io'][1] names http://m a second time"),
        ({"docker.io": [{"endpoint": "http://m"}]}, "registry mirrors['docker.io'][0] has an unknown key 'endpoint'"),
        (
            {"docker.io": [{"url": "http://m", "capabilities": ["fetch"]}]},
            ".capabilities ['fetch'] must be some of pull, resolve, push",
        ),
        ({"docker.io": [{"url": "http://m", "skip_verify": "yes"}]}, ".skip_verify is a str, not a bool"),
        ({"docker.io": [{"url": "http://m", "password": "geheim"}]}, "has a password without the other"),
        ({"docker.io": ["http://robot:geheim@m"]}, ".url carries a user name or password"),
        ({"docker.io": {"url": "http://m", "password": "geheim"}}, "must be a list of at least one endpoint, not a dict"),
        ({"docker.io": "https://robot:geheim@m"}, "must be a list of at least one endpoint, not a str"),
        ({"docker.io": ["robot:geheim@r.example.com"]}, ".url 'r.example.com' is no http:// or https:// URL"),
        ({"docker.io": ["http:/robot:ge@heim/geheim@r.example.com"]}, ".url 'r.example.com' is no http:// or https:// URL"),
        ({"docker.io": ["https://robot:geheim@[r"]}, ".url '[r' is no URL"),
        ({"docker.io": [{"https://robot:geheim@m": {}}]}, "has an unknown key 'm'"),
        ({"https://robot:geheim@m": ["http://m"]}, "registry mirrors['m'] is no registry host"),
        ({"docker.io": [7]}, "registry mirrors['docker.io'][0] is a int"),
    ],
)
def test_errors_name_the_entry_and_no_password(mirrors, message):
    with pytest.raises(AnsibleFilterError) as error:
        registry_hosts(mirrors, DIR)
    assert message in str(error.value)
    assert "geheim" not in str(error.value)
