# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test bed: an artifact mirror, a registry, nodes that are podman containers with systemd, and an AWS stand-in."""
