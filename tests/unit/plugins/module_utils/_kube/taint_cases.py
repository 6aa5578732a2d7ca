# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kube-apiserver accepts as a taint. The integration target node_taint sends each case to a real one."""

from __future__ import annotations

#: (key, value, effect, accepted)
CASES: list[tuple[str, str, str, bool]] = [
    ("dedicated", "gpu", "NoSchedule", True),
    ("dedicated", "", "NoExecute", True),
    ("Dedicated_1.x", "A.b-c_D", "PreferNoSchedule", True),
    ("example.com/gpu", "1", "NoSchedule", True),
    ("a", "b", "NoSchedule", True),
    ("1", "0", "NoSchedule", True),
    ("k" * 63, "v" * 63, "NoSchedule", True),
    (f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}/x", "", "NoSchedule", True),  # prefix of 253
    ("a" * 253 + "/x", "", "NoSchedule", True),  # labels of a subdomain may be long: only its whole length counts
    ("1.2.3/x", "", "NoSchedule", True),
    ("node.kubernetes.io/unreachable", "", "NoExecute", True),
    ("k" * 64, "", "NoSchedule", False),
    ("key", "v" * 64, "NoSchedule", False),
    ("a" * 254 + "/x", "", "NoSchedule", False),
    ("example.com/" + "k" * 64, "", "NoSchedule", False),
    ("", "", "NoSchedule", False),
    ("/x", "", "NoSchedule", False),
    ("example.com/", "", "NoSchedule", False),
    ("a/b/c", "", "NoSchedule", False),
    ("Example.com/x", "", "NoSchedule", False),
    ("exa_mple.com/x", "", "NoSchedule", False),
    ("example..com/x", "", "NoSchedule", False),
    ("-example.com/x", "", "NoSchedule", False),
    ("example.com./x", "", "NoSchedule", False),
    ("-key", "", "NoSchedule", False),
    ("key-", "", "NoSchedule", False),
    (".key", "", "NoSchedule", False),
    ("key_", "", "NoSchedule", False),
    ("ke y", "", "NoSchedule", False),
    ("key\n", "", "NoSchedule", False),
    ("kéy", "", "NoSchedule", False),
    ("key", "-v", "NoSchedule", False),
    ("key", "v.", "NoSchedule", False),
    ("key", "a/b", "NoSchedule", False),
    ("key", "a b", "NoSchedule", False),
    ("key", "v\n", "NoSchedule", False),
    ("key", "é", "NoSchedule", False),
    ("key", "", "noschedule", False),
    ("key", "", "NoScheduleNoAdmit", False),
    ("key", "", "", False),
]
