# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""MIG (Multi-Instance GPU): what a GPU can be cut into, what it is cut into, and how to get from one to the other.

PRIVATE: this package is for this collection only and may change without notice.

    layout   profiles, boards, instances: the nouns
    known    boards by PCI id, for plans made without a driver
    solver   where instances go; exact
    config   mig-parted's file format v1, and the shorter `layout:`
    plan     observed + wished -> steps; pure
    nvml     reads and changes the real GPU through nvidia-ml-py
    clients  who holds a GPU: processes, units, pods
    picture  a layout for people: text and SVG
    resource the modules' observe, plan, apply, verify
"""
