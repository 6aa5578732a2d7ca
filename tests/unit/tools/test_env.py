# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How tools/env.py makes environments, without a package registry."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(name="environments")
def environments_fixture(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("env_of_test", ROOT / "tools" / "env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CACHE", tmp_path)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@" --without-pip\n')  # which takes seconds
    python.chmod(0o755)
    monkeypatch.setattr(module, "python_for", lambda _name: python)
    return module


def test_what_an_interrupted_run_left_is_made_anew(environments, monkeypatch):
    """A pip that was killed while it replaced itself neither works nor is mended by `python -m venv`."""

    left = []

    def killed(command, **_more):
        left.append(Path(command[-1]) / "lib" / "half a pip")
        left[0].parent.mkdir(parents=True)
        left[0].touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(subprocess, "run", killed)
        environments.environment("dev")

    monkeypatch.setattr(environments, "run_long", lambda _what, _command: None)
    folder = environments.environment("dev")
    assert (folder / "bin" / "python").exists()
    assert not left[0].exists()


def test_what_failed_is_named_in_one_sentence(environments, monkeypatch):
    monkeypatch.setattr(environments, "python_for", lambda _name: Path("/bin/false"))
    with pytest.raises(SystemExit, match=r"the Python environment 'dev' was not made: `/bin/false -m venv .* failed, see above"):
        environments.environment("dev")
