# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""kubectl as a function: objects in and out as JSON over pipes, its complaints as sentences.

Nothing is written to disk (manifests may hold secrets) and nothing but names is on a command line.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import typing as t
from pathlib import Path

from .._plan import GpufleetError
from .objects import Object, Ref, as_list, parse_stream, ref_of

#: Where programs are when sudo's secure_path or a minimal PATH does not name them.
MORE_PLACES = ("/usr/local/bin", "/usr/bin", "/opt/bin", "/usr/local/sbin", "/snap/bin")
REQUEST_TIMEOUT_S = 60  # one request to the API server; a definition of several MB takes some seconds
COMMAND_LIMIT_S = 900  # a whole kubectl command, many requests
#: Part of an error that passes by itself, soon after what it needs was applied too.
PASSING = re.compile(
    r"failed calling webhook|no endpoints available|currently unable to handle|ensure CRDs are installed first|etcdserver: "
    r"|TooManyRequests|storage is \(re\)initializing|connection refused|connection reset|TLS handshake timeout|i/o timeout"
    r"|unexpected EOF|the object has been modified|http2: client connection lost|Client\.Timeout exceeded"
)


class KubectlError(GpufleetError):
    """kubectl refused or failed. `raw` is what it wrote, `passing` whether trying again can help."""

    def __init__(self, message: str, raw: str) -> None:
        super().__init__(message)
        self.raw = raw
        self.passing = bool(PASSING.search(raw))


class Kubectl:
    """`program` and `kubeconfig` as the task gives them; whether they exist is only looked at by `missing()` and on use."""

    def __init__(self, program: str, kubeconfig: str) -> None:
        self.program = shutil.which(program) or shutil.which(program, path=":".join(MORE_PLACES)) or program
        self.kubeconfig = kubeconfig

    def missing(self) -> str | None:
        """In words, what is not there yet."""
        if shutil.which(self.program) is None:
            return f"kubectl ('{self.program}') is not installed on this host"
        try:
            there = Path(self.kubeconfig).is_file()
        except OSError as error:  # not shown: it may be a kubeconfig's text
            return f"kubeconfig is no path that can be looked at ({error.strerror}) on this host"
        return None if there else f"kubeconfig {self.kubeconfig} does not exist on this host"

    def run(self, *arguments: str, stdin: str = "", server: bool = True) -> str:
        """kubectl's output. Raises KubectlError."""
        missing = self.missing()
        if missing and (server or "kubeconfig" not in missing):
            raise KubectlError(f"{missing}; is this a control plane host, and is the cluster set up?", missing)
        command = [self.program, *arguments]
        if server:
            command += ["--kubeconfig", self.kubeconfig]
            if arguments[0] != "delete":  # which waits by a long request, within its own limit
                command.append(f"--request-timeout={REQUEST_TIMEOUT_S}s")
        try:
            # A module's entry has no AnsibleModule (it also runs without one), so not its run_command.
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                command,
                input=stdin,
                capture_output=True,
                encoding="utf-8",
                errors="replace",  # a log may hold anything
                check=False,
                timeout=COMMAND_LIMIT_S,
                env={**os.environ, "LC_ALL": "C", **({} if server else {"KUBECONFIG": os.devnull})},
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlError(f"kubectl {arguments[0]} did not end within {COMMAND_LIMIT_S} s", "i/o timeout") from error
        except OSError as error:
            raise KubectlError(f"cannot run {self.program}: {error.strerror}", str(error)) from error
        if done.returncode:
            raise KubectlError(self._explain(done.stderr), done.stderr)
        return done.stdout

    def objects(self, *arguments: str, stdin: str = "", server: bool = True) -> list[Object]:
        return parse_stream(self.run(*arguments, "--output=json", stdin=stdin, server=server))

    def to_json(self, *sources: str, stdin: str = "") -> list[Object]:
        """The objects in YAML or JSON files, folders or standard input ('-'), without asking any server."""
        files = [f"--filename={source}" for source in sources]
        return self.objects("patch", "--local", "--type=merge", "--patch={}", *files, stdin=stdin, server=False)

    def get(self, objects: t.Sequence[Object]) -> tuple[list[Object], set[tuple[str, str]]]:
        """Those that exist, and the (apiVersion, kind) that the API server does not know."""
        unknown: set[tuple[str, str]] = set()
        while True:
            asked = [o for o in objects if (o["apiVersion"], o["kind"]) not in unknown]
            if not asked:
                return [], unknown
            names = as_list(ref_of(o).manifest() for o in asked)
            try:
                return self.objects("get", "--ignore-not-found", "--filename=-", stdin=names), unknown
            except KubectlError as error:
                found = {
                    (version, kind) for kind, version in re.findall(r'no matches for kind "(.+?)" in version "(.+?)"', error.raw)
                }
                if not found - unknown:
                    raise
                unknown |= found

    def apply(self, objects: t.Sequence[Object], manager: str, force: bool, dry_run: bool = False) -> list[Object]:
        """Server-side apply; as the API server has, or would have them, afterwards."""
        if not objects:
            return []
        flags = ["--server-side", f"--field-manager={manager}", f"--force-conflicts={str(force).lower()}", "--filename=-"]
        # The API server refuses fields that it does not know by itself here; kubectl's own look takes the whole schema each time
        flags.append("--validate=false")
        if dry_run:
            return self.objects("apply", "--dry-run=server", *flags, stdin=as_list(objects))
        self.run("apply", *flags, stdin=as_list(objects))
        return []

    def delete(self, refs: t.Sequence[Ref], limit_s: int, cascade: str = "background") -> None:
        """Returns when they are gone; with cascade "foreground", what they own too. Raises KubectlError, also at the limit."""
        manifests = as_list(ref.manifest() for ref in refs)
        flags = ["--ignore-not-found", "--wait=true", f"--cascade={cascade}", f"--timeout={limit_s}s", "--filename=-"]
        self.run("delete", *flags, stdin=manifests)

    def _explain(self, stderr: str) -> str:
        lines = [
            line for line in stderr.splitlines() if line.strip() and not re.match(r"[EWI]\d{4} |Warning: |ensure CRDs", line)
        ]
        text = (
            "; ".join(dict.fromkeys(re.sub(r"^(error: )?(Error from server )?", "", line) for line in lines))
            or "kubectl gave no reason"
        )
        if re.search(r"connection refused|no route to host|i/o timeout|no such host|TLS handshake timeout|EOF$", text):
            return f"the API server in {self.kubeconfig} does not answer ({text}); is the control plane up?"
        if "Unauthorized" in text or "must be logged in" in text:
            return f"the API server does not accept the credentials in {self.kubeconfig} ({text}); have they expired?"
        if "x509:" in text:
            return f"the certificates in {self.kubeconfig} do not fit the API server ({text}); it may be another cluster's"
        return text
