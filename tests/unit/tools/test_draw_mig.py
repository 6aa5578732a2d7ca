# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib.util
from pathlib import Path


def test_the_example_in_the_documentation_is_what_the_tool_draws_now():
    spec = importlib.util.spec_from_file_location("draw_mig", Path(__file__).resolve().parents[3] / "tools" / "draw_mig.py")
    draw_mig = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw_mig)
    assert draw_mig.PICTURE.read_text(encoding="utf-8") == draw_mig.drawn(), "run tools/draw_mig.py"
