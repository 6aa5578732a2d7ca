# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks each release's own validation about the configurations in tests/unit/.../kubelet_verdicts.txt, and writes what it said.

    python3 tools/kubelet_types/verdicts.py            # all releases of generate.py; needs Go and a Go module proxy
    python3 tools/kubelet_types/verdicts.py --check    # the same, and fails if the file would change

A line is a letter for each release, oldest first (y: taken, n: refused), and a configuration. To add one, write `?` for the
letters. The unit tests hold the rules of plugins/module_utils/_kubelet/rules.py against these verdicts. Fields that a release
does not know are no matter here: a kubelet ignores them.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from generate import HERE, RELEASES, asked

FILE = HERE.parent.parent / "tests/unit/plugins/module_utils/_kubelet/kubelet_verdicts.txt"
HEAD = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "failCgroupV1": False,  # this machine's cgroups are not the question
}


def verdicts(release: str, cases: list[str]) -> str:
    """y or n for each case."""
    answer, _source = asked(release, "judge", "".join(json.dumps({**HEAD, **json.loads(case)}) + "\n" for case in cases))
    print(f"{release}: {len(cases)} cases", file=sys.stderr)
    return "".join("n" if json.loads(line) else "y" for line in answer.splitlines())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a verdict is another")
    check = parser.parse_args().check
    before = FILE.read_text()
    cases = sorted({line.partition(" ")[2] for line in before.splitlines()})
    with ThreadPoolExecutor(2) as pool:
        by_release = list(pool.map(lambda release: verdicts(release, cases), RELEASES))
    text = "".join(f"{''.join(letters)} {case}\n" for letters, case in zip(zip(*by_release), cases))
    if check:
        print(f"{FILE} is {'what these releases say' if text == before else 'NOT what these releases say: run without --check'}")
        return 0 if text == before else 1
    Path(FILE).write_text(text)
    print(f"{FILE}: {len(cases)} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
