# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a training runs, where and as whom: the options of module_utils/_training/render.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  image:
    description: The image that trains. Required for O(state=present).
    type: str
  registry:
    description: Registry of an O(image) that names none. C(REGISTRY) in O(environment_file) by default.
    type: str
  command:
    description:
      - The program that trains and its arguments. Required for O(state=present).
      - With O(mode=multi_node) C(mpirun) starts it once for each slot.
    type: list
    elements: str
  replicas:
    description: Workers.
    type: int
    default: 2
  slots_per_worker:
    description: Processes of O(command) in each worker. At most its CPUs, and its GPUs where it has any.
    type: int
    default: 1
  mpirun_args:
    description: More arguments for C(mpirun) of Open MPI.
    type: list
    elements: str
    default: [--bind-to, none]
  resources:
    description:
      - What a worker (or the pod of a Job) asks for, by name, for example V(cpu), V(memory), V(nvidia.com/gpu),
        V(nvidia.com/mig-1g.10gb), V(hugepages-2Mi), V(vpc.amazonaws.com/efa).
      - These are limits too, but for V(cpu), which may be exceeded unless O(pinned), and V(ephemeral-storage).
    type: dict
    default: {}
  launcher_resources:
    description: The same for the launcher, which computes nothing.
    type: dict
    default: {cpu: 100m, memory: 128Mi}
  pinned:
    description: Whether a worker's CPUs are its limit too. With whole CPUs it then is Guaranteed and gets CPUs of its own.
    type: bool
    default: false
  spread:
    description: Whether each worker must be on a node of its own.
    type: bool
    default: true
  node_selector:
    description: Labels that nodes must have.
    type: dict
    default: {}
  tolerations:
    description: Tolerations as in a pod.
    type: list
    elements: dict
    default: []
  pod_spec:
    description: Anything else of a pod, merged over the rendered spec (RFC 7386), for example C(priorityClassName).
    type: dict
    default: {}
  uid:
    description: User id of the processes.
    type: int
    default: 1000
  gid:
    description: Group id of the processes.
    type: int
    default: 1000
  fs_group:
    description: Group that volumes are given to, where their kind allows it. O(gid) by default.
    type: int
  dataset_dir:
    description: Folder of the data set in the pods, told to the program as C(DATASET_DIR).
    type: str
  model_dir:
    description: Folder of the model package in the pods, told to the program as C(MODEL_DIR).
    type: str
  output_dir:
    description: Folder for results in the pods, told to the program as C(OUTPUT_DIR). It must be in one of O(volumes).
    type: str
  volumes:
    description: What is mounted.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where, in the pods.
        type: str
        required: true
      source:
        description:
          - One volume source as in a pod, for example C(nfs), C(persistentVolumeClaim) or C(hostPath).
          - A C(hostPath) must be a folder that exists, unless its C(type) says otherwise.
        type: dict
        required: true
      read_only:
        description: Whether it is mounted read-only. By default only the volume with O(dataset_dir).
        type: bool
  shm_size:
    description: Size of C(/dev/shm), for example V(8Gi); the runtime's 64 MiB by default.
    type: str
  environment:
    description: Environment of the program.
    type: dict
    default: {}
  environment_file:
    description:
      - The same as the content of a file with lines C(NAME=value); O(environment) and the other options count more.
    type: str
  ssh_port:
    description: Port of the workers' sshd.
    type: int
    default: 2222
"""
