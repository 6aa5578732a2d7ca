#!/usr/bin/python
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: hyperpod_token_info
short_description: Wait for the data that a worker of a HyperPod site joins with
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Reads the secret that M(gpufleet.k8s.hyperpod_token) keeps, and waits until a worker can join with it.
  - What a run of that module puts right is waited for, up to O(wait_timeout). The secret is not there yet, scheduled for
    deletion, malformed, of another cluster than O(cluster_arn) or O(cluster_id), or its token is expired; or AWS throttles or
    does not answer. The error says what was seen last.
  - What waiting does not mend fails at once, such as missing permissions, missing or expired credentials.
  - Secrets written by shimomut's C(hyperpod_k8s) scripts are understood; they do not say when their token ends.
extends_documentation_fragment:
  - gpufleet.k8s.attributes.info
  - gpufleet.k8s.attributes.api
  - gpufleet.k8s.attributes.hyperpod
  - gpufleet.k8s.aws
  - gpufleet.k8s.aws.which
options:
  ca_cert_hash:
    description:
      - The hash that one of the cluster's certificate authorities must have, C(sha256:) and 64 hexadecimal digits, where the
        worker knows it from elsewhere.
    type: str
  min_life:
    description: The token must live at least this long, so that it does not end while the worker joins.
    type: str
    default: 1m
  wait_timeout:
    description:
      - Seconds to wait. With V(0), the secret is read once. Pauses are random, up to 15 seconds, so that many workers spread out.
    type: int
    default: 300
  retry_budget:
    description:
      - Seconds that pauses between attempts may add up to when AWS throttles, fails or does not answer; for all calls of one task
        together, and beyond O(wait_timeout) where a look began within it. With V(0), a look is one attempt, and only
        O(wait_timeout) allows for another.
    type: int
    default: 0
notes:
  - RV(join) holds the token, so give the task and those that use it C(no_log=true).
  - It needs the permission C(secretsmanager:GetSecretValue) on that secret and nothing else; see C(docs/iam.md).
seealso:
  - module: gpufleet.k8s.hyperpod_token
"""

EXAMPLES = r"""
- name: Wait until this worker can join
  gpufleet.k8s.hyperpod_token_info:
    cluster_arn: "{{ resource_config.ClusterConfig.ClusterArn }}"
  register: join
  no_log: true

- name: Write kubeadm's join configuration
  ansible.builtin.copy:
    dest: /etc/kubernetes/join.yaml
    mode: "0600"
    content: |
      apiVersion: kubeadm.k8s.io/v1beta4
      kind: JoinConfiguration
      discovery:
        bootstrapToken:
          apiServerEndpoint: "{{ join.join.master_addr_port }}"
          token: {{ join.join.token }}
          caCertHashes: {{ join.join.ca_cert_hashes | to_json }}
  no_log: true
"""

RETURN = r"""
join:
  description: The data to join with. It holds secrets.
  returned: success
  type: dict
  contains:
    master_addr_port:
      description: Address of the API server, C(host:port), IPv6 in brackets.
      returned: always
      type: str
      sample: 10.1.113.28:6443
    endpoint:
      description: The same as a URL.
      returned: always
      type: str
      sample: https://10.1.113.28:6443
    token:
      description: The bootstrap token.
      returned: always
      type: str
    discovery_token_ca_cert_hash:
      description: Hash of the first certificate authority, 64 hexadecimal digits without C(sha256:).
      returned: always
      type: str
    ca_cert_hashes:
      description: Hashes of all certificate authorities, with C(sha256:), as kubeadm's C(caCertHashes) wants them.
      returned: always
      type: list
      elements: str
    expires:
      description: End of the token, RFC 3339; null if it has none or the writer did not say.
      returned: always
      type: str
    cluster_id:
      description: Id of the HyperPod cluster, empty if the writer did not say.
      returned: always
      type: str
    schema_version:
      description: V(0) for a secret of the original scripts, else V(1).
      returned: always
      type: int
    certificate_key:
      description: Key of the uploaded control plane certificates.
      returned: if one is published
      type: str
    certificate_key_expires:
      description: When kubeadm removes these certificates.
      returned: if one is published
      type: str
token_id:
  description: The public part of the token.
  returned: success
  type: str
  sample: abcdef
expires:
  description: End of the token.
  returned: success
  type: str
  sample: "2026-11-25T08:00:00Z"
version_id:
  description: Version of the secret.
  returned: success
  type: str
secret_name:
  description: Name of the secret.
  returned: success
  type: str
  sample: hyperpod-k8s-kb8v11zrrpvr
waited:
  description: Seconds until the secret was usable.
  returned: success
  type: float
  sample: 12.5
last_state:
  description:
    - What was wrong with the secret at the last look. V(absent), V(scheduled) for deletion, V(malformed), V(unusable) when
      expired or of another cluster, or V(unreachable) when AWS throttled or did not answer.
  returned: failure, after O(wait_timeout)
  type: str
  sample: unusable
last_seen:
  description: The same in words; what was wrong with the secret at the last look.
  returned: failure, after O(wait_timeout)
  type: str
  sample: its token abcdef expired at 2026-11-23T08:00:00Z
aws_error:
  description: AWS's code for why it refused a call, such as V(AccessDeniedException), or the name of the SDK's error.
  type: str
  returned: failure
attempts:
  description: How often the secret was looked at.
  returned: failure, after O(wait_timeout)
  type: int
"""

from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.args import INFO_SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.info import entry
from ansible_collections.gpufleet.k8s.plugins.module_utils._module import run_module


def main() -> None:
    run_module(entry, **INFO_SPEC)


if __name__ == "__main__":
    main()
