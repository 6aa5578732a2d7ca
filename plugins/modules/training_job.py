#!/usr/bin/python
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: training_job
short_description: Train on a Kubernetes cluster, on one node or on many over MPI, and tell how it went
version_added: 0.1.0
author: The gpufleet.k8s authors (@gpufleet)
description:
  - Starts an MPIJob (C(kubeflow.org/v2beta1)) or a Job, looks at it until it ends, and returns what its log says.
  - Before anything is created, the API server is asked in a dry run, and the nodes are looked at. A job whose pods would stay
    Pending is refused, with the reason for every node.
  - A job with the same name and input is left alone while it runs and when it is done; it is waited for and reported like a new
    one. Another input under the same name is refused unless O(rerun).
  - Runs as any user id in any image with C(mpirun) and C(sshd). The job brings C(/etc/passwd), C(/etc/group) and the
    configuration of ssh and sshd that this takes.
  - A training that fails is an error that says which pod, why, and its last lines.
  - Objects of these names that are no training's (they lack the label C(gpufleet.k8s/training-job)) are refused, not overwritten
    and not removed.
extends_documentation_fragment:
  - gpufleet.k8s.attributes
  - gpufleet.k8s.attributes.node
  - gpufleet.k8s.training
attributes:
  action:
    description: Indicates this has a corresponding action plugin, so some parts of the options can be executed on the controller.
    support: partial
    details:
      - O(wait), what is shown meanwhile, and O(logs_dir) are on the controller.
requirements:
  - kubectl on the host, and a kubeconfig
  - the MPI operator (v2beta1) in the cluster, for O(mode=multi_node)
options:
  name:
    description: Name of the job. At most 40 lower-case letters, digits and C(-).
    type: str
    required: true
  namespace:
    description: Its namespace, which must exist.
    type: str
    default: default
  state:
    description: V(absent) removes the job with its pods and settings, and waits until they are gone.
    type: str
    choices: [present, absent]
    default: present
  mode:
    description: V(multi_node) is an MPIJob with O(replicas) workers and a launcher, V(single_node) a Job with one pod.
    type: str
    choices: [multi_node, single_node]
    default: multi_node
  rerun:
    description: Whether a job of this name is removed first, so that the training begins anew.
    type: bool
    default: false
  create:
    description:
      - Whether the job is created when it is not there. V(false) only looks at it, and fails when there is none.
      - The looks after the first of a O(wait) are of that kind, so that a job which is deleted meanwhile stays deleted.
    type: bool
    default: true
  time_limit:
    description: Seconds after which the job is ended and has failed.
    type: int
  backoff_limit:
    description: How often a failed training is begun again by the cluster.
    type: int
    default: 0
  ttl_after_finished:
    description:
      - Seconds after its end at which the cluster removes the job; of an MPIJob it removes only the launcher.
      - With O(wait), at least 60, since a job that is gone cannot be asked how it ended. A training whose job is gone begins anew
        when the task runs again.
    type: int
  clean_pod_policy:
    description: Which workers go at the end of an MPIJob.
    type: str
    choices: ['None', Running, All]
    default: Running
  suspend:
    description: Whether the job is created suspended, for a queue or a person to start it.
    type: bool
    default: false
  allow_pending:
    description: Whether a job is created although no nodes have room for it, for an autoscaler or a queue; a warning tells why.
    type: bool
    default: false
  on_failure:
    description: What becomes of a job that failed, once its logs are read.
    type: str
    choices: [remove, keep]
    default: remove
  start_timeout:
    description:
      - Seconds after which a job that does not run yet has failed. They count from when it was created, last resumed or begun
        again, and with O(allow_pending) from when all its pods have a node.
    type: int
    default: 300
  wait:
    description: Seconds to wait for the end; V(0) does not wait.
    type: int
    default: 0
  logs_dir:
    description: Folder on the controller for the logs, one file for the launcher and one for all workers.
    type: path
  kustomize_dir:
    description:
      - Folder on the host that gets the same job as a kustomization, for C(kubectl apply -k), before the job begins.
      - Files there that this module did not write are not overwritten. With O(state=absent), what it wrote is removed, and the
        folder if nothing else is in it.
    type: path
  patterns:
    description: Regular expressions by name; the numbers that their first groups find in the log are returned.
    type: dict
    default:
      loss: 'loss[ =:]+([0-9.eE+-]+)'
      images_per_second: 'images/sec[ =:]+([0-9.eE+-]+)'
  kubeconfig:
    description: Path of the kubeconfig on the host.
    type: path
    default: /etc/kubernetes/admin.conf
  kubectl:
    description: Path of kubectl, or its name, which is also looked for in C(/usr/local/bin) and similar places.
    type: str
    default: kubectl
"""

EXAMPLES = r"""
- name: ResNet-50 on two nodes with eight GPUs each
  gpufleet.k8s.training_job:
    name: resnet50
    image: registry.example/resnet50:1
    command: [python3, /opt/train.py]
    replicas: 2
    slots_per_worker: 8
    resources: {cpu: 32, memory: 256Gi, nvidia.com/gpu: 8, vpc.amazonaws.com/efa: 32, hugepages-2Mi: 5120Mi}
    uid: 12345
    gid: 12345
    dataset_dir: /tf_dataset
    output_dir: /work/output
    volumes:
      - path: /tf_dataset
        source: {nfs: {server: fs.example, path: /datasets/imagenet}}
      - path: /work
        source: {persistentVolumeClaim: {claimName: work}}
    wait: 86400
    logs_dir: ./logs
  register: training

- name: Remove it
  gpufleet.k8s.training_job:
    name: resnet50
    state: absent
"""

RETURN = r"""
phase:
  description: V(pending), V(running), V(succeeded), V(failed) or V(suspended).
  type: str
  returned: when it was looked at
finished:
  description: Whether it has ended, well or not.
  type: bool
  returned: when it was looked at, or is gone
succeeded:
  description: Whether the training has ended well.
  type: bool
  returned: when it was looked at
duration:
  description: Seconds from its start to its end; null while it runs.
  type: float
  returned: when it was looked at
found:
  description: What each of O(patterns) found in the log, in order.
  type: dict
  returned: when it was looked at
  sample: {loss: [2.29, 1.79], images_per_second: [6.1, 8.9]}
pods:
  description: The pods, each with C(name), C(role), C(node), C(phase) and C(trouble).
  type: list
  elements: dict
  returned: when it was looked at
last_line:
  description: The last line of the log.
  type: str
  returned: when it was looked at
logs:
  description: The logs by pod, while a training runs their last lines.
  type: dict
  returned: when it was looked at, without O(logs_dir)
log_files:
  description: The files written in O(logs_dir).
  type: list
  elements: str
  returned: when O(logs_dir) is given
reason:
  description: Why the training failed.
  type: str
  returned: when it failed
kustomization:
  description: Files by name, of a folder from which C(kubectl apply -k) makes the same job.
  type: dict
  returned: when O(state=present)
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
"""

from ansible_collections.gpufleet.k8s.plugins.module_utils._module import run_module
from ansible_collections.gpufleet.k8s.plugins.module_utils._training.args import SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._training.resource import entry


def main() -> None:
    run_module(entry, **SPEC)


if __name__ == "__main__":
    main()
