# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tokens and keys in kubeadm's documents."""

from __future__ import annotations

import typing as t

KEYS = ("token", "tlsBootstrapToken", "certificateKey")
#: Dictionaries around them. What is there instead may be a token.
AROUND = ("bootstrapToken", "bootstrapTokens")
#: What is shorter is none, and hiding it would hide parts of other words.
SHORTEST = 8


def kubeadm_secrets(documents: t.Any) -> list[str]:
    """Each once, in no order that means anything. Pure; takes documents of any shape."""
    return sorted({text for text in _within(documents, "") if len(text) >= SHORTEST})


def _within(value: t.Any, key: str) -> t.Iterator[str]:
    if isinstance(value, t.Mapping):
        for name, item in value.items():
            yield from _within(item, key if key in KEYS else str(name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _within(item, key)
    elif value is not None and key in (*KEYS, *AROUND):
        yield str(value)
