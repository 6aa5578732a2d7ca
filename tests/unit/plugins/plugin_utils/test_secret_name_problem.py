# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.gpufleet.k8s.plugins.plugin_utils.secret_name_problem import secret_name_problem


def test_what_aws_takes_and_what_not() -> None:
    for name in ("", "hyperpod-k8s-kb8v11zrrpvr", "team/a_b+c=d.e@f", "j" * 512):
        assert secret_name_problem(name) == ""
    for name in ("join data", "jöin", "j" * 513, "join\n"):
        assert secret_name_problem(name).startswith(f"{name!r} cannot be the name of a secret")
