# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import config, resource
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.plan import Options, plan
from ansible_collections.gpufleet.k8s.plugins.plugin_utils import mig_svg


def test_a_planned_fleet_is_drawn() -> None:
    gpus = resource.assumed(["A100-40GB", "A30"])
    wishes = config.resolve(config.from_layout({0: ["3g.20gb:0", "2g.10gb"]}), gpus, True)
    after = plan(gpus, wishes, Options()).facts["after"]
    drawn = mig_svg.mig_svg({"gpu-1": after})
    assert drawn == mig_svg.mig_svg({"gpu-1": {"after": after, "before": []}}) == mig_svg.mig_svg({"gpu-1": {"gpus": after}})
    assert all(f">{text}<" in drawn for text in ("gpu-1", "GPU 0 A100-40GB", "3g.20gb", "2g.10gb", "GPU 1 A30", "whole"))


@pytest.mark.parametrize("found", [{"msg": "no driver"}, "gpus", None])
def test_what_has_no_gpus_is_named(found: object) -> None:
    with pytest.raises(AnsibleFilterError, match="gpu-1 has neither GPUs nor a result"):
        mig_svg.mig_svg({"gpu-1": found})
