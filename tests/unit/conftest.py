# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Property tests: no deadlines (shared CI machines stall), and failures that repeat (derandomized) in CI.

Where the same tests run on a second ansible-core, a `few` examples do: the gate unit tries all.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
usual = "ci" if os.environ.get("CI") else "default"
settings.register_profile("few", settings.get_profile(usual), max_examples=10)
settings.load_profile(usual)
