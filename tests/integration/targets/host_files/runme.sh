#!/usr/bin/env bash
# Copyright: the gpufleet.k8s authors
# SPDX-License-Identifier: GPL-3.0-or-later
exec python -m pytest -q -c /dev/null --rootdir . -p no:cacheprovider . "$@"
