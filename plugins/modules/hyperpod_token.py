#!/usr/bin/python
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: hyperpod_token
short_description: Keep the secret that workers of a HyperPod site join with
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Makes sure that a worker can join a kubeadm cluster on SageMaker HyperPod at any time. The bootstrap token exists in the
    cluster and lives long enough, and the secret in AWS Secrets Manager names it, the API endpoint and the hashes of the
    cluster's certificate authorities.
  - Run it once after the control plane is up and then regularly, for example daily; nodes that HyperPod replaces or adds join
    with what it keeps. It needs the Kubernetes API and Secrets Manager, not kubeadm, and no access to any node.
  - It decides by what it finds. There is no secret, or it is scheduled for deletion; its token is not in the cluster; less than
    O(renew_before) of it is left; it is of a Kubernetes cluster that was rebuilt since (another certificate authority or
    endpoint); or it holds something else. RV(reason) says which.
  - A secret of another HyperPod cluster is refused, and left alone with O(state=absent), so that two clusters with the same
    O(secret_name) do not take it from each other. A HyperPod cluster that was made again has another id. Delete the secret of
    the old one first, with O(state=absent) and the O(cluster_id) of the old one.
  - Such a secret is restored and then replaced. When that fails its deletion is scheduled again; when a run is killed between
    the two, the next one goes on, which it knows by the token made for it. Without that token the old cluster's secret is refused
    again, and is to be deleted once more.
  - Several may run at once, and it may be killed at any point. The token is made before the secret names it, the secret is only
    replaced when it still is what was seen, and a token that an interrupted run left behind is used by the next.
extends_documentation_fragment:
  - gpufleet.k8s.attributes
  - gpufleet.k8s.attributes.api
  - gpufleet.k8s.attributes.hyperpod
  - gpufleet.k8s.aws
  - gpufleet.k8s.aws.retry
  - gpufleet.k8s.aws.which
  - gpufleet.k8s.kube
options:
  state:
    description:
      - With V(absent), the secret is deleted and then the tokens that were made for it. If nothing answers at the Kubernetes API,
        or O(kubeconfig) does not exist any more, the secret is deleted all the same, with a warning.
    type: str
    choices: [present, absent]
    default: present
  endpoint:
    description:
      - Address of the API server for workers, C(host:port). Defaults to the C(controlPlaneEndpoint) that kubeadm was given, else
        to the server in the ConfigMap C(kube-public/cluster-info).
    type: str
  ttl:
    description:
      - Life of a new token, written as for C(kubeadm token create).
      - The default leaves a day at least for whatever hinders the daily run, since O(renew_before) is half of it.
    type: str
    default: 48h
  renew_before:
    description: A new token is made when less than this is left.
    type: str
    default: 24h
  grace:
    description:
      - How long a token made by this module stays valid after another has replaced it, for workers that have read the secret
        just before. Kubernetes deletes it then. With V(0) it is deleted at once.
      - Tokens that this module did not make for this secret are never touched.
    type: str
    default: 15m
  certificate_key:
    description:
      - The key that C(kubeadm init phase upload-certs --upload-certs) printed, to be published for joining control planes,
        with its end (two hours later; the cluster knows when). An earlier one stays in the secret until then.
    type: str
  kms_key_id:
    description:
      - KMS key for a new secret, AWS's own C(aws/secretsmanager) by default. That of an existing secret is not changed.
    type: str
  force_delete:
    description:
      - With O(state=absent), delete the secret at once. Otherwise AWS keeps it for seven days, in which O(state=present)
        restores it.
    type: bool
    default: false
notes:
  - Neither the token nor the certificate key is ever in a result, a diff or an error message.
  - Permissions for AWS and for Kubernetes are in C(docs/iam.md).
seealso:
  - module: gpufleet.k8s.hyperpod_token_info
  - plugin: gpufleet.k8s.hyperpod_instance
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Workers of this cluster can join
  gpufleet.k8s.hyperpod_token:
    cluster_arn: arn:aws:sagemaker:us-west-2:123456789012:cluster/kb8v11zrrpvr
    kubeconfig: ~/.kube/hyperpod
  delegate_to: localhost
  run_once: true

- name: Publish the key for further control planes, too
  gpufleet.k8s.hyperpod_token:
    cluster_id: kb8v11zrrpvr
    region: us-west-2
    certificate_key: "{{ uploaded.stdout_lines[-1] }}"
  delegate_to: localhost
  run_once: true

- name: Remove the secret and the tokens
  gpufleet.k8s.hyperpod_token:
    cluster_id: kb8v11zrrpvr
    state: absent
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
reason:
  description:
    - Why something was done. V(create) there was no secret; V(undelete) it was scheduled for deletion; V(repair) it held
      something else; V(replace) it was of another Kubernetes cluster or endpoint; V(restore) its token was not in the cluster;
      V(renew) its token had too little life left; V(update) only other data changed; V(none) nothing about the secret was
      to be done.
    - On failure, the API server's word for why it refused a call, such as V(Forbidden); V(Unreachable) where it did not answer.
  returned: with O(state=present), and failure
  type: str
  sample: renew
actions:
  description: What was done, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [create bootstrap token, publish secret hyperpod-k8s-kb8v11zrrpvr, retire bootstrap token abcdef]
secret_name:
  description: Name of the secret.
  returned: success
  type: str
  sample: hyperpod-k8s-kb8v11zrrpvr
region:
  description: The region it is in.
  returned: success
  type: str
  sample: us-west-2
version_id:
  description: Version of the secret.
  returned: with O(state=present), when not in check mode or nothing is to be done
  type: str
token_id:
  description: The public part of the published token.
  returned: as RV(version_id)
  type: str
  sample: abcdef
expires:
  description: End of the published token; null if it has none.
  returned: as RV(version_id)
  type: str
  sample: "2026-11-25T08:00:00Z"
master_addr_port:
  description: The published address of the API server.
  returned: as RV(version_id)
  type: str
  sample: 10.1.113.28:6443
endpoint:
  description: The same as a URL.
  returned: as RV(version_id)
  type: str
  sample: https://10.1.113.28:6443
discovery_token_ca_cert_hash:
  description: The published hash of the first certificate authority, 64 hexadecimal digits without C(sha256:).
  returned: as RV(version_id)
  type: str
cluster_id:
  description: Id of the HyperPod cluster in the secret, empty if it is not known.
  returned: as RV(version_id)
  type: str
schema_version:
  description: The version of the published data's layout.
  returned: as RV(version_id)
  type: int
  sample: 1
ca_cert_hashes:
  description: The published hashes of the certificate authorities; several while they are being rotated.
  returned: as RV(version_id)
  type: list
  elements: str
  sample: ["sha256:7c5a3c1f0e2b4d6980a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f607"]
certificate_key_expires:
  description: End of the published certificate key.
  returned: as RV(version_id), if a certificate key is published
  type: str
  sample: "2026-11-23T10:00:00Z"
done:
  description: The steps that had been done before one failed, or before they turned out not to have had their effect.
  type: list
  elements: str
  returned: failure
undone:
  description: Those of RV(done) that were undone, the last one first.
  type: list
  elements: str
  returned: failure
undo_failed:
  description: Those of RV(done) that could not be undone, each with the reason.
  type: list
  elements: str
  returned: failure
status:
  description: HTTP status of the API server's refusal; null where it did not answer.
  type: int
  returned: failure
aws_error:
  description: AWS's code for why it refused a call, such as V(AccessDeniedException), or the name of the SDK's error.
  type: str
  returned: failure
"""

from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.args import TOKEN_SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.token import entry
from ansible_collections.gpufleet.k8s.plugins.module_utils._module import run_module


def main() -> None:
    run_module(entry, **TOKEN_SPEC)


if __name__ == "__main__":
    main()
