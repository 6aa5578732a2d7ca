# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module promises, in the words that `ansible-doc` prints.

A module names two or three of these:

    extends_documentation_fragment:
      - gpufleet.k8s.attributes             # it changes something (or attributes.info: it only reads)
      - gpufleet.k8s.attributes.node        # it runs on the node (or attributes.api: it talks to an API)
      - gpufleet.k8s.attributes.hyperpod    # it belongs to an action group of meta/runtime.yml
"""

from __future__ import annotations


class ModuleDocFragment:
    # The contract of module_utils/_plan.py, so it is "full" for every module that keeps it.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and return what would change, without changing it.
    details:
      - Check mode makes the same plan from the same observation and stops there.
  diff_mode:
    support: full
    description: Will return details on what has changed (or would change in C(check_mode)), when in diff mode.
    details:
      - The values of secrets are never shown.
  idempotent:
    support: full
    description: When run twice in a row outside check mode with the same arguments, the second run changes nothing.
"""

    # For modules that only read: they never change anything, so there is no diff.
    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and return what would change, without changing it.
    details:
      - This module only reads.
  diff_mode:
    support: N/A
    description: Will return details on what has changed (or would change in C(check_mode)), when in diff mode.
    details:
      - This module only reads.
  idempotent:
    support: full
    description: When run twice in a row outside check mode with the same arguments, the second run changes nothing.
    details:
      - This module only reads.
"""

    # For modules that work on the files, services and devices of the host they run on.
    NODE = r"""
options: {}
attributes:
  platform:
    description: The systems that the module runs on.
    support: full
    platforms: linux
    details:
      - Needs Python 3.9 or newer there, and no other Python package, unless the requirements say otherwise.
"""

    # For modules with an action plugin of the same name (plugin_utils/_action.py).
    API = r"""
options: {}
attributes:
  action:
    description: Indicates this has a corresponding action plugin, so some parts of the options can be executed on the controller.
    support: partial
    details:
      - For a host with a local connection (for example with C(delegate_to=localhost)) everything runs in the controller's own
        process. For any other host the module is sent there as usual, because an API in a private subnet is often reachable only
        from the control plane.
      - With C(become) it runs in a process of its own. For a controller that is no host of the inventory only the keyword counts,
        since C(ansible_become) for all hosts was not meant for it.
  platform:
    description: The systems that the module runs on.
    support: full
    platforms: posix
"""

    # One for each action group in meta/runtime.yml.
    HYPERPOD = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/gpufleet.k8s.hyperpod) in C(module_defaults) to set defaults for all modules of the group.
    support: full
    membership:
      - gpufleet.k8s.hyperpod
"""
