# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hyperpod_token would refuse about the name of its secret, before there is a cluster to publish."""

from __future__ import annotations

from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod import args


def secret_name_problem(name: str) -> str:
    """One sentence that begins with the name, or ""; also for no name, which stands for the default."""
    return args.secret_name_problem(str(name)) if name else ""
