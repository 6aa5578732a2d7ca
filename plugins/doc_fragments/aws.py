# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to reach AWS: the options of module_utils/_hyperpod/aws.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  region:
    description:
      - The AWS region. Defaults to that of the cluster's ARN where one is given, else to E(AWS_REGION),
        E(AWS_DEFAULT_REGION) or the profile's region.
    type: str
  profile:
    description: A profile of the shared AWS configuration. Can also be set by E(AWS_PROFILE).
    type: str
  access_key:
    description:
      - Access key id. Without O(access_key) and O(profile), boto3 looks for credentials as always; E(AWS_ACCESS_KEY_ID),
        E(AWS_SECRET_ACCESS_KEY), E(AWS_SESSION_TOKEN), shared files and the machine's role among others.
    type: str
  secret_key:
    description: Secret access key of O(access_key).
    type: str
  session_token:
    description: Session token of temporary credentials.
    type: str
  endpoint_url:
    description:
      - URL to use instead of AWS's own, for a VPC endpoint or a test. Can also be set by E(AWS_ENDPOINT_URL) or
        E(AWS_ENDPOINT_URL_SECRETS_MANAGER).
    type: str
  aws_ca_bundle:
    description: File of certificate authorities to trust. Can also be set by E(AWS_CA_BUNDLE).
    type: path
requirements:
  - boto3 >= 1.34 (Python package, where the module runs)
notes:
  - For tasks with C(environment), and for hosts other than the controller, the variables are those of the host.
"""

    # For modules that write: those that wait have another default.
    RETRY = r"""
options:
  retry_budget:
    description:
      - Seconds that pauses between attempts may add up to when AWS throttles, fails or does not answer; for all calls of
        one task together. Each pause is drawn at random below a growing ceiling.
    type: int
    default: 30
"""

    WHICH = r"""
options:
  cluster_arn:
    description:
      - ARN of the HyperPod cluster, in any partition, as in C(/opt/ml/config/resource_config.json).
      - One of O(cluster_arn), O(cluster_id) and O(secret_name) is needed; an empty one is none.
    type: str
  cluster_id:
    description: The last segment of the cluster's ARN.
    type: str
  secret_name:
    description: Name of the secret. Defaults to C(hyperpod-k8s-<cluster id>).
    type: str
"""
