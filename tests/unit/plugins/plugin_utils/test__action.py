# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a module that talks to an API runs, and what it says of wrong options; tests/unit/playbooks has the rest."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest
from ansible_collections.gpufleet.k8s.plugins.plugin_utils import _action

SENT = {"sent": True}
HERE = {"here": True}


class Plugin(_action.ApiAction):
    MODULE = "gpufleet.k8s.some"
    ENTRY = staticmethod(lambda _params, _check: dict(HERE))
    SPEC: t.ClassVar[dict[str, t.Any]] = {
        "argument_spec": {
            "region": {"type": "str"},
            "taints": {"type": "list", "elements": "dict", "options": {"key": {"type": "str"}}},
        }
    }


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., dict[str, t.Any]]:
    def run(
        host: str, hosts: list[str], *, variable: bool = False, keyword: bool = False, **arguments: t.Any
    ) -> dict[str, t.Any]:
        monkeypatch.setattr(_action.ActionBase, "run", lambda *_: {})
        plugin = object.__new__(Plugin)
        monkeypatch.setattr(plugin, "_execute_module", lambda **_: dict(SENT), raising=False)
        task = {"args": arguments, "async_val": 0, "environment": [], "check_mode": False, "delegate_to": host, "become": keyword}
        plugin._task = SimpleNamespace(**task)
        plugin._connection = SimpleNamespace(transport="local" if host != "far" else "ssh")
        plugin._play_context = SimpleNamespace(become=variable or keyword)
        return plugin.run(None, {"inventory_hostname": "far", "groups": {"all": hosts}})

    return run


@pytest.mark.parametrize(
    ("host", "hosts", "become", "where"),
    [
        ("localhost", ["far"], {}, HERE),
        ("localhost", ["far"], {"variable": True}, HERE),  # of the group all, for the others
        ("127.0.0.1", ["far"], {"variable": True}, HERE),
        ("localhost", ["far"], {"keyword": True}, SENT),
        ("localhost", ["far", "localhost"], {"variable": True}, SENT),
        ("near", ["far", "near"], {"variable": True}, SENT),
        ("near", ["far", "near"], {}, HERE),
        ("far", ["far"], {}, SENT),
    ],
)
def test_who_is_asked_where(run: t.Any, host: str, hosts: list[str], become: dict[str, bool], where: dict[str, bool]) -> None:
    assert run(host, hosts, **become) == where


def test_a_wrong_option_is_a_result(run: t.Any) -> None:
    result = run("localhost", [], regoin="us-east-1")
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"] == "Unsupported parameters for gpufleet.k8s.some: regoin. Supported parameters include: region, taints."


def test_a_key_that_is_no_text_is_a_result(run: t.Any) -> None:
    """ansible-core's validator of suboptions joins keys to a sentence, and failed at it."""
    result = run("localhost", [], taints=[{"key": "a"}, {1: "x"}])
    assert result == {"failed": True, "changed": False, "msg": "taints[1] has the key 1, which is no text: put it in quotes"}
