# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to reach a Kubernetes API server: the options of module_utils/_kube/client.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig file, or its content as a dictionary.
      - It may hold secrets, so where the module is sent to a host all its values are blanked out in the result; give a path
        where that hides too much.
      - Without O(kubeconfig), O(context) and credentials, a pod's service account is used, then the default
        kubeconfig (E(KUBECONFIG) or C(~/.kube/config)).
      - Can also be set by E(K8S_AUTH_KUBECONFIG).
    type: raw
  context:
    description: A context of the kubeconfig. Can also be set by E(K8S_AUTH_CONTEXT).
    type: str
  host:
    description:
      - URL of the API server; with credentials, no kubeconfig is read.
      - Can also be set by E(K8S_AUTH_HOST).
    type: str
  api_key:
    description: Bearer token. Can also be set by E(K8S_AUTH_API_KEY).
    type: str
  username:
    description: User name for HTTP basic authentication, where a proxy in front of the API server uses it.
      Can also be set by E(K8S_AUTH_USERNAME).
    type: str
  password:
    description: Password of O(username). Can also be set by E(K8S_AUTH_PASSWORD).
    type: str
  validate_certs:
    description:
      - Whether the server's certificate is verified.
      - Defaults to what the kubeconfig says, else C(true).
      - Can also be set by E(K8S_AUTH_VALIDATE_CERTS) or E(K8S_AUTH_VERIFY_SSL).
    type: bool
    aliases: [verify_ssl]
  ca_cert:
    description: File of the certificate authority. Can also be set by E(K8S_AUTH_CA_CERT) or E(K8S_AUTH_SSL_CA_CERT).
    type: path
    aliases: [ssl_ca_cert]
  client_cert:
    description: File of the client certificate. Can also be set by E(K8S_AUTH_CLIENT_CERT) or E(K8S_AUTH_CERT_FILE).
    type: path
    aliases: [cert_file]
  client_key:
    description: File of the client certificate's key. Can also be set by E(K8S_AUTH_CLIENT_KEY) or E(K8S_AUTH_KEY_FILE).
    type: path
    aliases: [key_file]
  proxy:
    description:
      - URL of an HTTP proxy.
      - Defaults to E(HTTPS_PROXY) or E(HTTP_PROXY). Can also be set by E(K8S_AUTH_PROXY).
    type: str
  no_proxy:
    description:
      - Comma-separated hosts, domains and networks that are reached without the proxy.
      - Can also be set by E(K8S_AUTH_NO_PROXY).
    type: str
  proxy_headers:
    description: Headers for the proxy.
    type: dict
    suboptions:
      proxy_basic_auth:
        description: C(user:password) for the proxy. Can also be set by E(K8S_AUTH_PROXY_HEADERS_PROXY_BASIC_AUTH).
        type: str
      basic_auth:
        description: C(user:password) for an C(Authorization) header. Can also be set by E(K8S_AUTH_PROXY_HEADERS_BASIC_AUTH).
        type: str
      user_agent:
        description: Text of the C(User-Agent) header. Can also be set by E(K8S_AUTH_PROXY_HEADERS_USER_AGENT).
        type: str
  persist_config:
    description: Whether a refreshed token is written back to the kubeconfig. Can also be set by E(K8S_AUTH_PERSIST_CONFIG).
    type: bool
  impersonate_user:
    description: User to act as. Can also be set by E(K8S_AUTH_IMPERSONATE_USER).
    type: str
  impersonate_groups:
    description:
      - Groups to act as a member of, together with O(impersonate_user).
      - Can also be set by E(K8S_AUTH_IMPERSONATE_GROUPS), comma-separated.
    type: list
    elements: str
requirements:
  - kubernetes >= 24.2, < 37 (Python package, where the module runs)
"""

    # Modules that take a node out of service; their SPEC is _kube/lease.py's.
    LOCK = r"""
options:
  lock:
    description:
      - A Lease in the cluster that a run holds while it takes a node out of service, so that two runs never take two nodes
        at once; by default the same for all modules that do so (M(gpufleet.k8s.kubelet_config), M(gpufleet.k8s.mig_parted)).
      - Without effect where the node is not taken.
    type: dict
    suboptions:
      enabled:
        description: Whether there is such a lock. It needs O(api_key).
        type: bool
        default: true
      namespace:
        description: Namespace of the Lease.
        type: str
        default: kube-system
      name:
        description: Name of the Lease.
        type: str
        default: gpufleet-kubelet-config
      timeout:
        description: Seconds to wait for another run's node. A lock whose holder died is free after 30 seconds.
        type: int
        default: 600
"""
