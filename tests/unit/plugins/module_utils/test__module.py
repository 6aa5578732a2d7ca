# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers that no option can mean are refused for every module, before it looks at anything."""

from __future__ import annotations

import typing as t
from importlib import import_module
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins import modules
from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.args import SPEC as APPLY
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.args import SPEC as ARTIFACT
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.args import INFO_SPEC as TOKEN_INFO
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.args import SPEC as KUBELET
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet.pinning import SPEC as PINNING
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.args import SPEC as MIG
from ansible_collections.gpufleet.k8s.plugins.module_utils._module import perform
from ansible_collections.gpufleet.k8s.plugins.module_utils._numbers import POSITIVE
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from ansible_collections.gpufleet.k8s.plugins.module_utils._training.args import SPEC as TRAINING

JOB: dict[str, t.Any] = {"name": "j", "image": "i", "command": ["c"]}
FILES: dict[str, t.Any] = {"artifacts": [{"url": "u", "dest": "d"}]}


def performed(spec: t.Mapping[str, t.Any], given: t.Mapping[str, t.Any]) -> t.Any:
    validated = ArgumentSpecValidator(**spec).validate(given)
    assert not validated.error_messages
    return perform(lambda _params, _check_mode: {"changed": False}, spec["argument_spec"], validated.validated_parameters, True)


@pytest.mark.parametrize(
    ("spec", "given", "says"),
    [
        (KUBELET, {"settings": {}, "verify_timeout": 0}, "verify_timeout is 0; choose 1 or more seconds"),
        (KUBELET, {"settings": {}, "lock": {"timeout": -1}}, "lock.timeout is -1; choose 1 or more seconds"),
        (KUBELET, {"settings": {}, "drain": {"timeout": -5}}, "drain.timeout is -5; choose 1 or more seconds"),
        (KUBELET, {"settings": {}, "drain": {"grace_period": -2}}, "drain.grace_period is -2; choose -1 or more seconds"),
        (MIG, {"selected": "x", "lock": {"timeout": 0}}, "lock.timeout is 0; choose 1 or more seconds"),
        (MIG, {"selected": "x", "timeout": -600}, "timeout is -600; choose 1 or more seconds"),
        (APPLY, {"name": "x", "wait_timeout": -5}, "wait_timeout is -5; choose 0 or more seconds"),
        (TOKEN_INFO, {"cluster_id": "x", "wait_timeout": "-1"}, "wait_timeout is -1; choose 0 or more seconds"),
        (PINNING, {"timeout": -1}, "timeout is -1; choose 0 or more seconds"),
        (
            ARTIFACT,
            {**FILES, "timeout": 0, "retries": -1},
            "timeout is 0; choose 1 or more seconds; retries is -1; choose 0 or more",
        ),
        (
            ARTIFACT,
            {"artifacts": [{"url": "u", "dest": "d", "extract": ["x"], "strip_components": -1}]},
            "artifacts[0].strip_components is -1; choose 0 or more",
        ),
        (TRAINING, {**JOB, "replicas": 0}, "replicas is 0; choose 1 or more"),
        (TRAINING, {**JOB, "time_limit": 0}, "time_limit is 0; choose 1 or more seconds"),
        (TRAINING, {**JOB, "ttl_after_finished": -2}, "ttl_after_finished is -2; choose 0 or more seconds"),
        (TRAINING, {**JOB, "wait": -1}, "wait is -1; choose 0 or more seconds"),
        (TRAINING, {**JOB, "fs_group": -1}, "fs_group is -1; choose 0 or more"),
    ],
)
def test_refused(spec: t.Mapping[str, t.Any], given: dict[str, t.Any], says: str) -> None:
    with pytest.raises(PlanError) as error:
        performed(spec, given)
    assert error.value.message == f"{says}. Nothing was changed."


@pytest.mark.parametrize(
    ("spec", "given"),
    [
        (KUBELET, {"settings": {}}),
        (KUBELET, {"settings": {}, "priority": -1}),  # its own range is told
        (KUBELET, {"settings": {}, "verify_timeout": 1, "drain": {"grace_period": -1, "timeout": 1}}),
        (APPLY, {"name": "x", "wait_timeout": 0}),
        (PINNING, {}),
        (ARTIFACT, {**FILES, "retries": 0}),
        (TRAINING, {**JOB, "uid": 0, "gid": 0, "ttl_after_finished": 0}),
    ],
)
def test_taken(spec: t.Mapping[str, t.Any], given: dict[str, t.Any]) -> None:
    assert performed(spec, given) == {"changed": False}


def test_every_module_has_all_its_time_limits_looked_at() -> None:
    """A new limit of which 0 is too little belongs into POSITIVE; these are the ones of which it is not."""
    limits: set[str] = set()

    def collect(options: t.Mapping[str, t.Any]) -> None:
        for name, option in options.items():
            collect(option.get("options") or {})
            if option.get("type") == "int" and name.endswith(("timeout", "limit")):
                limits.add(name)

    for path in Path(next(iter(modules.__path__))).glob("[!_]*.py"):
        module = import_module(f"{modules.__name__}.{path.stem}")
        for name, spec in vars(module).items():
            if name.endswith("SPEC"):
                collect(spec["argument_spec"])
    assert limits - set(POSITIVE) == {"backoff_limit", "wait_timeout"}
