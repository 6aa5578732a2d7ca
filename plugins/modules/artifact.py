#!/usr/bin/python
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: artifact
short_description: Fetch pinned files, from upstream or a mirror, and put them in place
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Makes sure that files with known SHA-256 sums are where they should be. A list of them is one task.
  - What is already there with the right sum is neither downloaded nor, while its change time stays the same, read again. With
    sums given as O(artifacts[].checksum=sha256:...) an unchanged run uses no network at all.
  - Downloads run in parallel, are retried, and are continued by the next run when one is killed. Nothing is moved into place
    before everything is downloaded, checked and unpacked; then each file is replaced by a rename, also while it is being
    executed. When a step fails, what was replaced is put back.
extends_documentation_fragment:
  - gpufleet.k8s.attributes
  - gpufleet.k8s.attributes.node
options:
  artifacts:
    description: What to fetch. Entries with the same sum are downloaded once.
    type: list
    elements: dict
    required: true
    suboptions:
      url:
        description: Upstream URL, C(https), C(http) or C(file). It should name one version, because its content is pinned.
        type: str
        required: true
      checksum:
        description:
          - SHA-256 of what O(artifacts[].url) serves, 64 hexadecimal digits with or without C(sha256:) before them.
          - Or the URL of a checksum file in the format of C(sha256sum) (or a bare sum); the entry with the file's name is
            used. It is fetched in each run, and through O(mirror) like everything else.
          - Required for O(state=present), unless O(checksums=mirror) gives it.
        type: str
      dest:
        description: Absolute path of the file, or with O(artifacts[].extract) of the folder. Missing folders are created.
        type: path
        required: true
      member:
        description:
          - The file is an archive (tar, tar.gz, tar.bz2, tar.xz, zip); this member of it becomes the file
            O(artifacts[].dest).
        type: str
      extract:
        description:
          - The file is an archive; these members go into the folder O(artifacts[].dest) under their own names.
          - An entry is a member's name, a folder in the archive, or a pattern in which V(*) matches anything. V(['*']) is the
            whole archive.
          - A link becomes a copy of the member it points at. Files that only an earlier version's archive had are left alone.
        type: list
        elements: str
      strip_components:
        description:
          - Removes this many leading folders from the names of extracted members; names that have no more are left out.
        type: int
        default: 0
      mode:
        description:
          - Permissions in octal and quoted, for example V('0755').
          - Without it files are V('0644'), and members that are executable in the archive V('0755').
        type: raw
      owner:
        description: Name or number of the owner. Without it an existing file keeps its owner.
        type: str
      group:
        description: Name or number of the group. Without it an existing file keeps its group.
        type: str
      mirror:
        description: O(mirror) of this entry alone; empty for none.
        type: str
      checksums:
        description: O(checksums) of this entry alone.
        type: str
        choices: [pinned, mirror]
  state:
    description:
      - V(present) makes sure that the files are there.
      - V(absent) removes the files that these artifacts brought, and nothing else; it needs neither sums nor network.
    type: str
    choices: [present, absent]
    default: present
  mirror:
    description:
      - Base URL of an artifact mirror. C(https://HOST/PATH) is fetched from C(<mirror>/HOST/PATH), and nowhere else.
    type: str
    default: ''
  checksums:
    description:
      - Whose sums count for what comes from O(mirror).
      - V(pinned) trusts the task, so a mirror with other files is refused.
      - V(mirror) trusts the mirror, that is C(<mirrored URL>.sha256) beside each file, and ignores O(artifacts[].checksum).
        For mirrors whose files were built, scanned or signed by yourself and are not identical to upstream's. It has no
        effect without a mirror.
    type: str
    choices: [pinned, mirror]
    default: pinned
  timeout:
    description: Seconds without an answer after which a request has failed. A download may take any time while bytes arrive.
    type: int
    default: 30
  retries:
    description:
      - How often a request is repeated after a failure that may pass (no answer, refused, an early end, status 408, 425, 429
        and 5xx), with a random and growing pause, or the one that the server asks for. A download that got further starts
        counting anew.
    type: int
    default: 4
  headers:
    description:
      - HTTP headers for each request, for example an access token. Not sent to hosts that the server redirects to.
      - Where the task or one of its entries has a mirror, only for what comes from a mirror.
    type: dict
  username:
    description:
      - User name for HTTP basic authentication. The environment variable E(GPUFLEET_MIRROR_USERNAME) is its fallback.
      - Where the task or one of its entries has a mirror, it is sent to mirrors alone, not for an entry that is fetched from
        upstream all the same.
    type: str
  password:
    description:
      - Password of O(username). The environment variable E(GPUFLEET_MIRROR_PASSWORD) is its fallback.
      - The password in that variable is a mirror's. Without a mirror nothing is sent.
    type: str
  validate_certs:
    description: Whether TLS certificates are checked.
    type: bool
    default: true
  ca_path:
    description: PEM file with the certificate authorities to trust.
    type: path
  record:
    description:
      - Where the module keeps what it learnt about files and archives (their sums). It saves time and downloads; without it
        everything is found out again.
      - With the last file that it knows of it is removed itself, and its folder, if that is called C(gpufleet) and empty.
    type: path
    default: /var/lib/gpufleet/artifacts.json
notes:
  - The environment variables E(HTTPS_PROXY), E(HTTP_PROXY) and E(NO_PROXY) are respected.
seealso:
  - module: ansible.builtin.get_url
  - module: ansible.builtin.unarchive
"""

EXAMPLES = r"""
- name: Binaries of a node, from upstream or a mirror
  gpufleet.k8s.artifact:
    mirror: "{{ gpufleet_mirror | default('') }}"
    artifacts:
      - url: https://dl.k8s.io/v1.36.3/bin/linux/amd64/kubectl
        checksum: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        dest: /usr/local/bin/kubectl
        mode: '0755'
      - url: https://github.com/containerd/containerd/releases/download/v2.3.7/containerd-2.3.7-linux-amd64.tar.gz
        checksum: https://github.com/containerd/containerd/releases/download/v2.3.7/containerd-2.3.7-linux-amd64.tar.gz.sha256sum
        dest: /usr/local # the archive's names begin with bin/
        extract: [bin/containerd, bin/containerd-shim-runc-v2, bin/ctr]
      - url: https://github.com/containernetworking/plugins/releases/download/v1.9.1/cni-plugins-linux-amd64-v1.9.1.tgz
        checksum: sha256:123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0
        dest: /opt/cni/bin
        extract: ['*']
      - url: https://get.helm.sh/helm-v3.22.0-linux-amd64.tar.gz
        checksum: sha256:23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01
        dest: /usr/local/bin/helm
        member: linux-amd64/helm
"""

RETURN = r"""
artifacts:
  description: What was done for each artifact, in the order given.
  type: list
  elements: dict
  returned: success, with O(state=present)
  contains:
    url:
      description: The URL of the task.
      type: str
    source:
      description: Where it is fetched from.
      type: str
    sha256:
      description: Its sum.
      type: str
    dest:
      description: The path of the task.
      type: str
    changed:
      description: Whether one of its files changed, or would in check mode.
      type: bool
    bytes:
      description: How much was downloaded; in check mode, how much would be. Only for what is downloaded.
      type: int
    seconds:
      description: How long the download took. Only for what is downloaded.
      type: float
    resumed_at:
      description: The byte at which an interrupted download was continued, else 0. Only for what is downloaded.
      type: int
    files:
      description:
        - The files that changed, with their sums before and after; null in check mode for an archive never seen before.
      type: list
      elements: dict
actions:
  description: The steps in order, each a verb and what it was done to.
  type: list
  elements: str
  returned: success
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
remaining_actions:
  description: What was still to be done after all steps, where that is why the task failed.
  type: list
  elements: str
  returned: failure
url:
  description: Where it was to be fetched from.
  type: str
  returned: failure, when a file was to be fetched
expected:
  description: The sum that the file should have.
  type: str
  returned: failure, when it has another one
got:
  description: The sum that the file has.
  type: str
  returned: failure, when it is not RV(expected)
"""

from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._artifact.resource import entry
from ansible_collections.gpufleet.k8s.plugins.module_utils._module import run_module


def main() -> None:
    run_module(entry, **SPEC)


if __name__ == "__main__":
    main()
