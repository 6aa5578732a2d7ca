# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kubelet_config refuses before it looks at the node. What it does there is in the scenario cpu_pinning."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import resource
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"priority": 100}, "priority is 100; choose 0 to 99"),
        ({"name": "../x"}, "name is '../x'; it becomes a part of a file's name"),
        ({"pool": "worker"}, "pool is 'worker', but only provider openshift has pools"),
        ({"verify_timeout": 0}, "verify_timeout is 0; choose 1 or more seconds"),
        ({"lock": {"timeout": -1}}, "lock.timeout is -1; choose 1 or more seconds"),
        ({"drain": {"timeout": -5}}, "drain.timeout is -5; choose 1 or more seconds"),
        ({"drain": {"grace_period": -2}}, "drain.grace_period is -2; choose -1 or more seconds"),
    ],
)
def test_refused(given: dict[str, t.Any], says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any) -> None:
    monkeypatch.setattr(resource, "LOCAL_LOCK", str(tmp_path / "lock"))
    validated = ArgumentSpecValidator(**SPEC).validate({"settings": {}, **given})
    assert not validated.error_messages
    with pytest.raises(PlanError) as error:
        resource.entry(validated.validated_parameters, True)
    assert error.value.message.startswith(says)
