# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The YAML files on a node: read with PyYAML, written as JSON.

PRIVATE: this module util is for this collection only and may change without notice.
"""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

from .._plan import PlanError


class NoPyYAML(PlanError):
    """The Python that runs this cannot read the kubelet's files."""


def read(path: Path) -> t.Any:
    """The document in a file; None for an empty one. Raises OSError, ValueError (no YAML), NoPyYAML."""
    text = path.read_text(encoding="utf-8")
    try:
        import yaml  # noqa: PLC0415  the only thing on a node that neither Python nor Ansible brings
    except ImportError:
        raise NoPyYAML(
            f"{sys.executable} has no PyYAML, and {path} is YAML; install the package python3-yaml (Debian, Ubuntu) or "
            "python3-pyyaml (RPM distributions), which images with cloud-init have anyway. Nothing was changed."
        ) from None
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are safe loaders
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def text(content: t.Mapping[str, t.Any], comment: str) -> str:
    """A file with a comment in front. JSON is YAML in which no reader takes a string for something else (`1e9`, `on`, `0o7`)."""
    return f"# {comment}\n{json.dumps(content, indent=2)}\n"
