# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes plugins/module_utils/_kubelet/table.py: what the kubelet of each minor knows about its configuration.

    python3 tools/kubelet_types/generate.py            # all releases below; needs Go and a Go module proxy
    python3 tools/kubelet_types/generate.py --check    # the same, and fails if the file would change

Fields, defaults and feature gates come from probe/, compiled against each release; for those that the role kubeadm knows also the
fields of what kubeadm and kube-proxy read. Only what no program can ask is read from source text: which flag sets which field
(cmd/kubelet/app/options), and the maturity of policy options.
Releases: from the first with a drop-in directory (1.28) to the newest; any patch of a minor has the same API.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE = HERE.parent.parent / "plugins/module_utils/_kubelet/table.py"
RELEASES = ("1.28.15", "1.29.6", "1.30.14", "1.31.0", "1.32.2", "1.33.13", "1.34.4", "1.35.4", "1.36.3")
KUBEADM = 34  # the first minor that the role kubeadm knows: whose kubeadm and kube-proxy are asked, too

FLAG = re.compile(r'fs\.\w+\(.*?&c\.([\w.]+)\}?\)*, "([\w-]+)"')
OPTIONS = re.compile(r'^\s+(\w+)\s+(?:string\s+)?= "([\w-]+)"$', re.MULTILINE)

Runs = t.Sequence[tuple[int, t.Any]]  # (first minor, value from there on; None: not there)


def go(*argv: str, cwd: Path, text: str = "", **environment: str) -> str:
    # GOFLAGS: go adds what go.mod leaves out; GOTOOLCHAIN: no toolchain is fetched for an old release
    variables = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false", "GOTOOLCHAIN": "local", **environment}
    done = subprocess.run(["go", *argv], cwd=cwd, env=variables, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"go {' '.join(argv)} in {cwd} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


def asked(release: str, program: str, text: str = "") -> tuple[str, Path]:
    """(what `program` prints when it is built against this release and reads `text`, the folder of the release's source)."""
    with tempfile.TemporaryDirectory(prefix=f"kubelet-{release}-") as temporary:
        folder = Path(temporary)
        (folder / "go.mod").write_text("module none\n")
        source = Path(json.loads(go("mod", "download", "-json", f"k8s.io/kubernetes@v{release}", cwd=folder))["Dir"])
        upstream = (source / "go.mod").read_text()
        go_version = re.search(r"^go (\S+)$", upstream, re.MULTILINE)
        staging = sorted(set(re.findall(r"^\s*(?:replace )?(k8s\.io/[\w-]+) => \./staging", upstream, re.MULTILINE)))
        replaced = "\n".join(f"replace {name} => {name} v0.{release.partition('.')[2]}" for name in staging)
        (folder / "go.mod").write_text(
            f"module probe\n\ngo {go_version.group(1) if go_version else '1.21'}\n\n"
            f"require k8s.io/kubernetes v{release}\n\n{replaced}\n"
        )
        for file in (HERE / program).glob("*.go"):
            if file.name != "kubeadm.go" or int(release.split(".")[1]) >= KUBEADM:
                (folder / file.name).write_text(file.read_text())
        return go("run", "-gcflags=all=-N -l", ".", cwd=folder, text=text, CGO_ENABLED="0"), source


def probe(release: str) -> dict[str, t.Any]:
    """What this release knows: fields and defaults (dicts by type), gates, flags, policy options."""
    answer, source = asked(release, "probe")
    known = json.loads(answer)
    known["flags"] = flags((source / "cmd/kubelet/app/options/options.go").read_text(), known["types"])
    known["options"] = {
        manager: options((source / f"pkg/kubelet/cm/{folder}/policy_options.go").read_text())
        for manager, folder in (("cpu", "cpumanager"), ("topology", "topologymanager"))
    }
    print(f"{release}: {len(known['types'])} types, {len(known['gates'])} gates, {len(known['flags'])} flags", file=sys.stderr)
    return known


def flags(source: str, types: dict[str, t.Any]) -> dict[str, str]:
    """Flag -> path of the field that it sets, in JSON's names."""
    found = {}
    for attributes, flag in FLAG.findall(source):
        kind, path = "KubeletConfiguration", []
        for attribute in attributes.removesuffix(".Duration").split("."):
            key, its = next((key, its) for key, its in types[kind].items() if its["go"].lower() == attribute.lower())
            path.append(key)
            kind = its["type"].lstrip("?")
        found[flag] = ".".join(path)
    if len(found) < 75 or "feature-gates" not in found or "eviction-hard" not in found:
        sys.exit(f"only {len(found)} flags were recognised in options.go; has its style changed?")
    return found


def options(source: str) -> dict[str, str]:
    """Policy option -> a, b or g."""
    names = dict(OPTIONS.findall(source))
    found = {}
    for stage, listed in re.findall(r"(alpha|beta|stable)Options\s+= sets\.New(?:String|\[string\])\((.*?)\)", source, re.DOTALL):
        for constant in re.findall(r"\w+", listed):
            found[names[constant]] = {"alpha": "a", "beta": "b", "stable": "g"}[stage]
    return found


def runs(values: t.Mapping[int, t.Any]) -> Runs:
    """{minor: value} as the minors at which it changes; absent where the mapping has none."""
    found: list[tuple[int, t.Any]] = []
    for release in RELEASES:
        minor = int(release.split(".")[1])
        value = values.get(minor)
        if (found[-1][1] if found else None) != value:
            found.append((minor, value))
    return found


def table(known: dict[int, dict[str, t.Any]]) -> str:
    """The text of table.py."""

    def lines(rows: t.Callable[[dict[str, t.Any]], t.Mapping[str, t.Any]]) -> str:
        by_name: dict[str, dict[int, t.Any]] = {}
        for minor, one in known.items():
            for key, value in rows(one).items():
                by_name.setdefault(key, {})[minor] = value
        return "".join(line([key, *run_text(runs(by_name[key]))]) for key in sorted(by_name))

    def line(words: list[str]) -> str:
        # A backslash goes on in the file's next line, not the text's: ansible-test allows 160 characters.
        whole = " ".join(words) + "\n"
        return whole if len(whole) <= 160 else " \\\n".join(words) + "\n"

    def run_text(found: Runs) -> t.Iterator[str]:
        first = min(known)
        for minor, value in found:
            text = "-" if value is None else value
            yield text if minor == first else f"{minor}:{text}"

    def fields(one: dict[str, t.Any]) -> dict[str, str]:
        return {f"{kind}.{key}": its["type"] for kind, members in one["types"].items() for key, its in members.items()}

    def defaults(one: dict[str, t.Any]) -> dict[str, str]:
        # `logging` is a struct of its own depth; it goes in as one value like the rest.
        return {key: json.dumps(value, separators=(",", ":"), sort_keys=True) for key, value in one["defaults"].items()}

    def policy_options(one: dict[str, t.Any]) -> dict[str, str]:
        return {f"{manager}.{option}": stage for manager, those in one["options"].items() for option, stage in those.items()}

    sections = {
        "FIELDS": lines(fields),
        "DEFAULTS": lines(defaults),
        "GATES": lines(lambda one: one["gates"]),
        "DEPENDENCIES": lines(lambda one: {gate: ",".join(sorted(those)) for gate, those in one["needs"].items()}),
        "FLAGS": lines(lambda one: one["flags"]),
        "OPTIONS": lines(policy_options),
    }
    head = '''# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the kubelet of each minor knows about its configuration. Generated; see tools/kubelet_types/generate.py.

PRIVATE: this module util is for this collection only and may change without notice.

A line is a name and what it was from which minor on: `name A 33:B 36:-` is A up to 32, B in 33 to 35, gone from 36.
FIELDS: `Type.field` and its type (`?T` pointer, `[]T` list, `{}T` map from strings), from 34 on those of kubeadm
and kube-proxy, too. DEFAULTS: JSON. GATES: a alpha, b beta,
g stable, d deprecated, p not settable; upper case: locked; `+`: on by default. DEPENDENCIES: the gates without which one
cannot be on. FLAGS: the field that a flag sets.
OPTIONS: policy options of the cpu and topology managers, with a, b, g as for gates.
"""

from __future__ import annotations

'''
    releases = "RELEASES = (\n" + "".join(f'    "{release}",\n' for release in RELEASES) + ")\n"
    return head + releases + "".join(f'\n{name} = """\\\n{text}"""\n' for name, text in sections.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the table is not what these releases say")
    check = parser.parse_args().check
    with ThreadPoolExecutor(2) as pool:
        known = {int(release.split(".")[1]): one for release, one in zip(RELEASES, pool.map(probe, RELEASES))}
    text = table(known)
    if check:
        same = TABLE.exists() and TABLE.read_text() == text
        print(f"{TABLE} is {'what these releases say' if same else 'NOT what these releases say: run this without --check'}")
        return 0 if same else 1
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(text)
    print(f"{TABLE}: {len(text)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
