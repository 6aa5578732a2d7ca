# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""hyperpod_token and hyperpod_token_info between a real kube-apiserver and an AWS stand-in, judged by both and by kubeadm.

The API server runs with Kubernetes' own controllers for bootstrap tokens. The stand-in (tests/integration/aws_api.py) is moto
that refuses what AWS refuses, behind a proxy that breaks calls and enforces the policies in docs/policies.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
import typing as t
import urllib.error
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod import info, token
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.args import INFO_SPEC, TOKEN_SPEC
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import GpufleetError

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "tests/integration"))
from aws_api import ACCOUNT, AwsApi, Fault
from kube_api import KubeApi, binary

ID = "kb8v11zrrpvr"
NAME = f"hyperpod-k8s-{ID}"
SECRETS = "/api/v1/namespaces/kube-system/secrets"
CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
MERGE_PATCH = "application/merge-patch+json"
GROUP = "system:bootstrappers:kubeadm:default-node-token"
PARTITIONS = {"aws": "us-west-2", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}


class Site:
    """A kubeadm cluster's API and AWS, with what a test asks of them."""

    def __init__(self, api: KubeApi, aws: AwsApi) -> None:
        self.api = api
        self.aws = aws
        self.user = "admin"
        self.region = "us-west-2"

    def reset(self) -> None:
        self.aws.reset()
        self.user, self.region = "admin", "us-west-2"
        for secret in self.api.call("GET", SECRETS)["items"]:
            self.api.call("DELETE", f"{SECRETS}/{secret['metadata']['name']}")
        self.cluster_info([self.api.ca.read_text()])
        self.controlplane_endpoint(None)

    def cluster_info(self, certificates: list[str], server: str | None = None) -> None:
        """kube-public/cluster-info as `kubeadm init` writes it."""
        authority = base64.b64encode("".join(certificates).encode()).decode()
        cluster = {"certificate-authority-data": authority, "server": server or self.api.server}
        kubeconfig = {"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "", "cluster": cluster}]}
        self._configmap("kube-public", "cluster-info", {"kubeconfig": json.dumps(kubeconfig)})

    def controlplane_endpoint(self, endpoint: str | None) -> None:
        config = {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration", "kubernetesVersion": "v1.36.3"}
        if endpoint:
            config["controlPlaneEndpoint"] = endpoint
        self._configmap("kube-system", "kubeadm-config", {"ClusterConfiguration": json.dumps(config)})

    def _configmap(self, namespace: str, name: str, data: dict[str, str]) -> None:
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        try:
            self.api.call("PATCH", f"{path}/{name}", {"data": data}, MERGE_PATCH)
        except urllib.error.HTTPError:
            self.api.call("POST", path, {"metadata": {"name": name}, "data": data})

    def arn(self) -> str:
        partition = next(name for name, region in PARTITIONS.items() if region == self.region)
        return f"arn:{partition}:sagemaker:{self.region}:{ACCOUNT}:cluster/{ID}"

    def options(self, **options: t.Any) -> dict[str, t.Any]:
        return {"cluster_arn": self.arn(), "kubeconfig": str(self.api.token_kubeconfig(self.user)), **options}

    def keep(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """Runs hyperpod_token in this process."""
        return token.entry(validated(TOKEN_SPEC, {"endpoint_url": self.aws.url, **self.options(**options)}), check)

    def ask(self, **options: t.Any) -> dict[str, t.Any]:
        """Runs hyperpod_token_info in this process."""
        options = {"cluster_arn": self.arn(), "endpoint_url": self.aws.url, "wait_timeout": 0, **options}
        return info.entry(validated(INFO_SPEC, options), False)

    def stored(self) -> dict[str, t.Any]:
        return json.loads(self.aws.client(self.region).get_secret_value(SecretId=NAME, VersionStage="AWSCURRENT")["SecretString"])

    def store(self, text: str) -> None:
        client = self.aws.client(self.region)
        try:
            client.create_secret(Name=NAME, SecretString=text)
        except client.exceptions.ResourceExistsException:
            client.put_secret_value(SecretId=NAME, SecretString=text)

    def tokens(self) -> dict[str, datetime | None]:
        """Bootstrap tokens by id, with their ends."""
        found = {}
        for secret in self.api.call("GET", f"{SECRETS}?fieldSelector=type=bootstrap.kubernetes.io/token")["items"]:
            data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
            end = data.get("expiration")
            found[data["token-id"]] = datetime.strptime(end, "%Y-%m-%dT%H:%M:%S%z") if end else None
        return found

    def set_end(self, token_id: str, end: datetime) -> None:
        data = {"expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        self.api.call("PATCH", f"{SECRETS}/bootstrap-token-{token_id}", {"stringData": data}, MERGE_PATCH)

    def foreign_token(self, full: str, left: timedelta | None = None, **data: str) -> None:
        """As `kubeadm token create` makes it."""
        token_id, secret = full.split(".")
        if left is not None:
            data["expiration"] = (now() + left).strftime("%Y-%m-%dT%H:%M:%SZ")
        usages = {"usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true", "auth-extra-groups": GROUP}
        body = {
            "metadata": {"name": f"bootstrap-token-{token_id}"},
            "type": "bootstrap.kubernetes.io/token",
            "stringData": {"token-id": token_id, "token-secret": secret, **usages, **data},
        }
        self.api.call("POST", SECRETS, body)

    def agree(self) -> None:
        """Both sides agree: the published token is in the cluster, and the modules find nothing to do and nothing wrong."""
        published = self.stored()["token"].partition(".")[0]
        assert published in self.tokens()
        assert self.ask()["token_id"] == published
        assert self.keep(check=True)["actions"] == []

    def calls(self) -> list[str]:
        return [call.action.partition(":")[2] for call in self.aws.calls]


def validated(spec: dict[str, t.Any], options: dict[str, t.Any]) -> dict[str, t.Any]:
    result = ArgumentSpecValidator(**spec).validate(options)
    assert not result.error_messages
    return result.validated_parameters


def now() -> datetime:
    return datetime.now(timezone.utc)


def in_hours(number: float) -> datetime:
    return now() + timedelta(hours=number)


def certificate(folder: Path, name: str) -> str:
    """A self-signed one."""
    path = folder / f"{name}.crt"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        f"/CN={name}",
        "-keyout",
        "/dev/null",
        "-out",
        path,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return path.read_text()


def hash_of(pem: str) -> str:
    """By openssl, as kubeadm's manual does it."""
    public = subprocess.run(["openssl", "x509", "-pubkey", "-noout"], input=pem.encode(), check=True, capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, check=True, capture_output=True).stdout
    digest = subprocess.run(["openssl", "dgst", "-sha256", "-r"], input=der, check=True, capture_output=True).stdout
    return "sha256:" + digest.decode().split()[0]


@pytest.fixture(scope="session")
def services() -> t.Iterator[Site]:
    with (
        KubeApi(users=("admin", "keeper"), flags=["--enable-bootstrap-token-auth"]) as api,
        api.control("bootstrap-signer-controller", "token-cleaner-controller"),
        AwsApi() as aws,
    ):
        objects = (ROOT / "docs/policies/kubernetes.json").read_text().replace("USER", "keeper")
        api.kubectl("apply", "-f", "-", stdin=objects)
        yield Site(api, aws)


@pytest.fixture
def site(services: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    services.reset()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in services.aws.environment().items():
        if name.startswith("AWS_") and name != "AWS_DEFAULT_REGION":
            monkeypatch.setenv(name, value)
    return services


# --- through ansible -----------------------------------------------------------------------------------------------------


def ansible(folder: Path, tasks: list[dict[str, t.Any]], *flags: str) -> tuple[dict[str, t.Any], str]:
    """Runs tasks that register `result`; returns it and ansible's output."""
    file = folder / "result.json"
    save = {"copy": {"content": "{{ result | to_json }}", "dest": str(file)}, "check_mode": False, "diff": False, "no_log": True}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [*tasks, save]}
    (folder / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", *flags, str(folder / "play.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text()), done.stdout + done.stderr


@pytest.mark.parametrize("how", ["action plugin", "module"])
def test_ladder(site: Site, tmp_path: Path, how: str) -> None:
    site.user = "keeper"
    # Only the module sees a task's environment, so with one the action plugin sends it.
    environment = {"AWS_ENDPOINT_URL": site.aws.url} if how == "module" else {}
    task = {"gpufleet.k8s.hyperpod_token": site.options(), "environment": environment, "register": "result"}
    changed, actions = [], []
    for flags in (["--check"], [], ["--check"], []):
        result, output = ansible(tmp_path, [task], "--diff", "-vvv", *flags)
        changed.append(result["changed"])
        actions.append(result["actions"])
        assert ("_execute_module" in output or "AnsiballZ_hyperpod_token" in output) == (how == "module")
        if not (flags and changed == [True]):
            for token_id, secret in [site.stored()["token"].split(".")]:
                assert secret not in output + json.dumps(result)
                assert result["token_id"] == token_id
        assert (f"+++ after: secret {NAME}" in output) == result["changed"]
    assert changed == [True, True, False, False]
    assert actions == [["create bootstrap token", f"publish secret {NAME}"]] * 2 + [[], []]
    assert list(site.tokens()) == [result["token_id"]]


def test_info_by_ansible_feeds_kubeadm_and_shows_nothing(site: Site, tmp_path: Path) -> None:
    site.keep()
    file = tmp_path / "join.json"
    tasks = [
        {"gpufleet.k8s.hyperpod_token_info": {"cluster_arn": site.arn()}, "register": "result", "no_log": True},
        {"copy": {"content": "{{ result.join | to_json }}", "dest": str(file), "mode": "0600"}, "no_log": True},
    ]
    result, output = ansible(tmp_path, tasks, "-vvv", "--diff")
    assert json.loads(file.read_text()) == site.stored()
    assert site.stored()["token"].split(".")[1] not in output
    assert not result["changed"]


# --- what is published is right ------------------------------------------------------------------------------------------


def test_the_published_token_is_a_bootstrapper_for_the_api_server(site: Site) -> None:
    site.keep()
    user = subprocess.run(
        [binary("kubectl"), "--server", site.api.server, "--certificate-authority", str(site.api.ca), "--kubeconfig", "/dev/null",
         "--token", site.stored()["token"], "auth", "whoami", "-o", "json"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    seen = json.loads(user.stdout)["status"]["userInfo"]
    assert seen["username"] == "system:bootstrap:" + site.stored()["token"].partition(".")[0]
    assert GROUP in seen["groups"]


def test_kubeadm_accepts_what_is_published(site: Site, tmp_path: Path) -> None:
    """kubeadm's own discovery: it finds cluster-info, checks the signature by the token and the pinned authority."""
    site.keep()
    join = site.ask()["join"]
    config = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": join["master_addr_port"], "token": join["token"], "caCertHashes": join["ca_cert_hashes"],
            },
            "timeout": "20s",
        },
        "nodeRegistration": {"name": "ip-10-1-38-128", "criSocket": "unix:///run/containerd/containerd.sock"},
    }  # fmt: skip
    (tmp_path / "join.json").write_text(json.dumps(config))
    done = subprocess.run(
        [binary("kubeadm"), "join", "--config", tmp_path / "join.json", "--dry-run", "--ignore-preflight-errors=all", "-v=1"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "contents are valid and TLS certificate validates against pinned roots" in done.stdout + done.stderr


def test_all_authorities_of_a_bundle(site: Site, tmp_path: Path) -> None:
    old, new = certificate(tmp_path, "old"), certificate(tmp_path, "new")
    site.cluster_info([new, old])
    site.keep()
    assert site.stored()["ca_cert_hashes"] == [hash_of(new), hash_of(old)]
    assert site.stored()["discovery_token_ca_cert_hash"] == hash_of(new).partition(":")[2]
    for pinned in (hash_of(new), hash_of(old)):
        assert site.ask(ca_cert_hash=pinned)["join"]
    with pytest.raises(GpufleetError, match="it is of another Kubernetes cluster"):
        site.ask(ca_cert_hash="sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("endpoint", "published"),
    [("k8s.example.com:6443", "k8s.example.com:6443"), ("10.0.0.9", "10.0.0.9:6443"), ("[fd00::9]:443", "[fd00::9]:443")],
)
def test_controlplane_endpoint(site: Site, endpoint: str, published: str) -> None:
    site.controlplane_endpoint(endpoint)
    result = site.keep()
    assert site.stored()["master_addr_port"] == published
    assert site.stored()["endpoint"] == f"https://{published}"
    assert any(f"controlPlaneEndpoint {published}" in warning for warning in result["warnings"])  # cluster-info says otherwise
    site.cluster_info([site.api.ca.read_text()], f"https://{published}")
    assert "warnings" not in site.keep()


def test_the_certificate_key_with_the_end_that_the_cluster_knows(site: Site) -> None:
    key = "5d" * 32
    with pytest.raises(GpufleetError, match="certificate_key was given, but the cluster holds no uploaded certificates"):
        site.keep(certificate_key=key)
    assert site.tokens() == {}
    # As `kubeadm init phase upload-certs` does it: the certificates belong to a token without usages.
    site.foreign_token(
        "certs0.0123456789abcdef", timedelta(hours=2), **{"usage-bootstrap-authentication": "", "auth-extra-groups": ""}
    )
    owner = site.api.call("GET", f"{SECRETS}/bootstrap-token-certs0")["metadata"]
    reference = {"apiVersion": "v1", "kind": "Secret", "name": owner["name"], "uid": owner["uid"]}
    site.api.call("POST", SECRETS, {"metadata": {"name": "kubeadm-certs", "ownerReferences": [reference]}})
    result = site.keep(certificate_key=key)
    assert site.stored()["certificate_key"] == key
    assert result["certificate_key_expires"] == site.stored()["certificate_key_expires"]
    assert datetime.strptime(result["certificate_key_expires"], "%Y-%m-%dT%H:%M:%S%z") == site.tokens()["certs0"]
    assert key not in json.dumps(result)
    assert not site.keep(certificate_key=key)["changed"]
    assert not site.keep()["changed"]


# --- each reason to do something, on the real thing ----------------------------------------------------------------------


def test_renew_retires_the_old_token_and_kubernetes_removes_it(site: Site) -> None:
    old = site.keep()["token_id"]
    site.set_end(old, in_hours(23))
    result = site.keep(grace="2s")
    assert result["reason"] == "renew"
    assert result["actions"] == ["create bootstrap token", f"publish secret {NAME}", f"retire bootstrap token {old}"]
    assert abs(site.tokens()[result["token_id"]] - in_hours(48)) < timedelta(minutes=1)
    deadline = time.monotonic() + 30
    while old in site.tokens():
        assert time.monotonic() < deadline, "the token cleaner did not remove the retired token"
        time.sleep(0.2)
    site.agree()


def test_no_grace_deletes_at_once(site: Site) -> None:
    old = site.keep()["token_id"]
    site.set_end(old, in_hours(1))
    new = site.keep(grace="0")["token_id"]
    assert list(site.tokens()) == [new]


def test_a_rebuilt_cluster(site: Site, tmp_path: Path) -> None:
    site.keep()
    rebuilt = certificate(tmp_path, "rebuilt")
    for token_id in site.tokens():  # the new cluster has a new etcd
        site.api.call("DELETE", f"{SECRETS}/bootstrap-token-{token_id}")
    site.cluster_info([rebuilt])
    result = site.keep()
    assert result["reason"] == "replace"
    assert any("another certificate authority" in warning for warning in result["warnings"])
    assert site.stored()["ca_cert_hashes"] == [hash_of(rebuilt)]
    site.agree()


def test_a_secret_of_another_hyperpod_cluster_is_handed_over_only_by_its_owner(site: Site) -> None:
    site.keep()
    before = site.stored()
    again = {"cluster_arn": site.arn().replace(ID, "rebuiltone12"), "secret_name": NAME}
    with pytest.raises(GpufleetError, match=f"is of the HyperPod cluster {ID}, and this run is for rebuiltone12"):
        site.keep(**again)
    assert "stays" in site.keep(state="absent", **again)["warnings"][0]
    assert site.stored() == before
    site.keep(state="absent")
    assert site.keep(**again)["reason"] == "undelete"
    assert site.stored()["cluster_id"] == "rebuiltone12"


@pytest.fixture
def again(site: Site) -> dict[str, str]:
    """Options of a HyperPod cluster that takes over a deleted secret of another one, which was published long ago."""
    site.keep()
    site.keep(state="absent")
    site.aws.backdate(NAME, 3600)
    return {"cluster_arn": site.arn().replace(ID, "rebuiltone12"), "secret_name": NAME}


def denied(operation: str, then: t.Callable[[], None] | None = None) -> Fault:
    said = f"User: x is not authorized to perform: secretsmanager:{operation}"
    return Fault(operation, "AccessDeniedException", message=said, then=then)


def test_what_was_restored_in_vain_is_scheduled_for_deletion_again(site: Site, again: dict[str, str]) -> None:
    site.aws.faults.append(denied("PutSecretValue"))
    with pytest.raises(
        GpufleetError, match=f"could not publish .*rolled back: restore secret {NAME}, create bootstrap"
    ) as refused:
        site.keep(**again)
    assert refused.value.facts["undo_failed"] == []
    assert site.aws.client().describe_secret(SecretId=NAME)["DeletedDate"]
    assert site.tokens() == {}
    assert site.keep(**again)["reason"] == "undelete"
    assert site.stored()["cluster_id"] == "rebuiltone12"


@pytest.mark.parametrize("while_it_is_undone", [False, True])
def test_what_was_restored_stays_where_another_run_has_published(
    site: Site, again: dict[str, str], while_it_is_undone: bool
) -> None:
    def other() -> None:
        site.keep(**again)

    if while_it_is_undone:
        site.aws.faults += [denied("PutSecretValue"), Fault("DeleteSecret", "hold", then=other)]
    else:
        site.aws.faults.append(denied("PutSecretValue", then=other))
    with pytest.raises(GpufleetError, match=f"rolling back failed too: restore secret {NAME}: .* has another value by now"):
        site.keep(**again)
    assert site.stored()["cluster_id"] == "rebuiltone12"
    assert not site.keep(**again)["changed"]


def test_what_was_restored_and_cannot_be_deleted_is_left_to_the_next_run(site: Site, again: dict[str, str]) -> None:
    site.aws.faults += [denied("PutSecretValue"), denied("DeleteSecret")]
    with pytest.raises(GpufleetError, match=r"rolling back failed too: .* it needs secretsmanager:DeleteSecret"):
        site.keep(**again)
    assert site.keep(**again)["actions"] == [f"publish secret {NAME}"]
    assert site.stored()["cluster_id"] == "rebuiltone12"


def test_killed_after_the_restore_the_next_run_goes_on(site: Site, again: dict[str, str]) -> None:
    killed(site, Fault("PutSecretValue", "drop"), **again)
    assert site.stored()["cluster_id"] == ID
    assert site.keep(**again)["actions"] == [f"publish secret {NAME}"]
    assert site.stored()["cluster_id"] == "rebuiltone12"
    assert len(site.tokens()) == 1


def test_two_writers_take_over_a_deleted_secret(site: Site, again: dict[str, str]) -> None:
    """The second one begins when the first has restored and not yet published."""
    second: list[dict[str, t.Any]] = []
    site.aws.faults.append(Fault("PutSecretValue", "hold", then=lambda: second.append(site.keep(**again))))
    first = site.keep(**again)
    assert [first["token_id"], second[0]["token_id"]] == [site.stored()["token"].partition(".")[0]] * 2
    assert site.stored()["cluster_id"] == "rebuiltone12"
    assert len(site.tokens()) == 1


def test_a_token_that_vanished(site: Site) -> None:
    old = site.keep()["token_id"]
    site.api.call("DELETE", f"{SECRETS}/bootstrap-token-{old}")
    assert site.keep()["reason"] == "restore"
    site.agree()


@pytest.mark.parametrize("text", ["hunter2 is not JSON", '{"token": "hunter2"}', "[]"])
def test_garbage(site: Site, text: str) -> None:
    site.store(text)
    with pytest.raises(GpufleetError, match=f"no usable join data in the secret {NAME} in us-west-2") as refused:
        site.ask()
    result = site.keep()
    assert (result["reason"], result["changed"]) == ("repair", True)
    assert any("held something else" in warning for warning in result["warnings"])
    assert "hunter2" not in str(refused.value) + json.dumps(result)
    previous = site.aws.client().get_secret_value(SecretId=NAME, VersionStage="AWSPREVIOUS")["SecretString"]
    assert previous == text
    site.agree()


def test_a_secret_without_a_value(site: Site) -> None:
    site.aws.client().create_secret(Name=NAME)
    assert site.keep()["reason"] == "repair"
    site.agree()


def test_a_secret_scheduled_for_deletion(site: Site) -> None:
    site.keep()
    site.aws.client().delete_secret(SecretId=NAME)
    with pytest.raises(GpufleetError, match="it cannot be read"):
        site.ask()
    result = site.keep()
    assert result["reason"] == "undelete"
    assert result["actions"] == [f"restore secret {NAME}", f"publish secret {NAME}"]  # with the token that is there
    site.agree()


def test_what_the_original_scripts_wrote_is_taken_over(site: Site) -> None:
    site.foreign_token("abcdef.0123456789abcdef", timedelta(hours=40))
    authority = hash_of(site.api.ca.read_text()).partition(":")[2]
    original = {
        "master_addr_port": site.api.server.partition("//")[2],
        "token": "abcdef.0123456789abcdef",
        "discovery_token_ca_cert_hash": authority,
    }
    site.store(json.dumps(original))
    assert site.ask()["join"]["schema_version"] == 0
    result = site.keep()
    assert (result["reason"], result["token_id"]) == ("update", "abcdef")
    assert original.items() <= site.stored().items()
    site.keep(state="absent")
    assert list(site.tokens()) == ["abcdef"]  # not ours, so it stays


def test_absent_and_back(site: Site) -> None:
    site.foreign_token("theirs.0123456789abcdef")
    site.keep()
    actions = []
    for check in (True, False, True, False):
        result = site.keep(check, state="absent")
        assert result["changed"] == bool(result["actions"])
        actions.append([action.split()[0] for action in result["actions"]])
    assert actions == [["delete", "retire"], ["delete", "retire"], [], []]
    assert list(site.tokens()) == ["theirs"]
    assert site.aws.client().describe_secret(SecretId=NAME)["DeletedDate"]
    assert site.keep()["reason"] == "undelete"
    site.agree()


def test_absent_by_force(site: Site) -> None:
    site.keep()
    site.keep(state="absent")
    assert site.keep(state="absent", force_delete=True)["actions"] == [f"delete secret {NAME}"]
    with pytest.raises(site.aws.client().exceptions.ResourceNotFoundException):
        site.aws.client().describe_secret(SecretId=NAME)
    assert not site.keep(state="absent", force_delete=True)["changed"]
    assert site.keep()["reason"] == "create"


def test_absent_when_the_cluster_is_gone(site: Site) -> None:
    site.keep()
    gone = {"host": "https://127.0.0.1:9", "api_key": "x", "kubeconfig": None}
    result = site.keep(state="absent", **gone)
    assert result["actions"] == [f"delete secret {NAME}"]
    assert any("no token was revoked" in warning for warning in result["warnings"])
    with pytest.raises(GpufleetError, match=r"https://127\.0\.0\.1:9 gave no answer"):
        site.keep(**gone)


@pytest.mark.parametrize("check", [True, False])
def test_absent_when_the_kubeconfig_is_gone(site: Site, tmp_path: Path, check: bool) -> None:
    site.keep()
    gone = {"kubeconfig": str(tmp_path / "gone")}
    result = site.keep(check, state="absent", **gone)
    assert result["actions"] == [f"delete secret {NAME}"]
    assert any("no token was revoked" in said and f"{tmp_path}/gone does not exist" in said for said in result["warnings"])
    assert ("DeletedDate" in site.aws.client().describe_secret(SecretId=NAME)) != check
    with pytest.raises(GpufleetError, match=f"{tmp_path}/gone does not exist; give kubeconfig"):
        site.keep(**gone)
    Path(gone["kubeconfig"]).write_text("{")
    with pytest.raises(GpufleetError, match="cannot be used"):
        site.keep(state="absent", **gone)


def test_absent_needs_no_cluster_info(site: Site) -> None:
    site.keep()
    site.api.call("DELETE", CLUSTER_INFO)
    assert site.keep(state="absent")["changed"]
    assert site.tokens() == {}
    assert not site.keep(state="absent")["changed"]


def test_a_cluster_without_cluster_info(site: Site) -> None:
    site.api.call("DELETE", CLUSTER_INFO)
    with pytest.raises(GpufleetError, match=r"has no ConfigMap kube-public/cluster-info.*kubeadm init phase bootstrap-token"):
        site.keep()
    assert site.tokens() == {}


def kubeconfig(server: str, authority: str) -> str:
    return json.dumps({"clusters": [{"cluster": {"server": server, "certificate-authority-data": authority}}]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "holds no kubeconfig with a CA and a server"),
        ("clusters: []", "holds no kubeconfig with a CA and a server"),
        (kubeconfig("https://h:1", "x"), "holds no kubeconfig with a CA and a server"),
        (
            kubeconfig("https://h:1", "eHg="),
            "certificate authority in kube-public/cluster-info of .* cannot be used: there is no PEM",
        ),
        (kubeconfig("https://h/k8s", "eHg="), "names an API endpoint that cannot be used: 'https://h/k8s' is not the address"),
    ],
)
def test_a_damaged_cluster_info(site: Site, text: str, message: str) -> None:
    site.api.call("PATCH", CLUSTER_INFO, {"data": {"kubeconfig": text}}, MERGE_PATCH)
    with pytest.raises(GpufleetError, match=message):
        site.keep()
    assert site.tokens() == {}


def test_tokens_that_kubernetes_does_not_take(site: Site) -> None:
    token_id = site.keep()["token_id"]
    site.api.call("PATCH", f"{SECRETS}/bootstrap-token-{token_id}", {"stringData": {"expiration": "tomorrow"}}, MERGE_PATCH)
    assert site.keep()["reason"] in ("renew", "restore")  # restore: when the token cleaner was faster
    published = site.stored()["token"].partition(".")[0]
    group = {"stringData": {"auth-extra-groups": "system:bootstrappers:others"}}
    site.api.call("PATCH", f"{SECRETS}/bootstrap-token-{published}", group, MERGE_PATCH)
    assert site.keep()["reason"] == "restore"
    site.agree()


def test_a_user_without_permission(site: Site) -> None:
    with pytest.raises(GpufleetError, match=r"grant system:serviceaccount:default:stranger .* verb get on configmaps"):
        site.keep(kubeconfig=str(site.api.token_kubeconfig("stranger", service_account(site))))
    assert site.calls() == []


def service_account(site: Site) -> str:
    path = "/api/v1/namespaces/default/serviceaccounts"
    site.api.call("POST", path, {"metadata": {"name": "stranger"}})
    return str(site.api.call("POST", f"{path}/stranger/token", {"spec": {}})["status"]["token"])


# --- interruptions, races and faults -------------------------------------------------------------------------------------

KILLED = """
import json, sys
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod import token
token.entry(json.load(sys.stdin), False)
"""


def killed(site: Site, at: Fault, **options: t.Any) -> None:
    """A run that is killed at this call."""
    parameters = validated(TOKEN_SPEC, {"endpoint_url": site.aws.url, **site.options(**options)})
    process = subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, text=True, env=os.environ)
    at.then = lambda: os.kill(process.pid, signal.SIGKILL)
    site.aws.faults.append(at)
    assert process.stdin
    json.dump(parameters, process.stdin)
    process.stdin.close()
    assert process.wait(60) == -signal.SIGKILL


@pytest.mark.parametrize("operation", ["CreateSecret", "PutSecretValue", "UpdateSecretVersionStage"])
@pytest.mark.parametrize("executed", [False, True])
def test_killed_between_the_two_writes(site: Site, operation: str, executed: bool) -> None:
    if operation != "CreateSecret":
        site.set_end(site.keep()["token_id"], in_hours(1))
    before = set(site.tokens())
    killed(site, Fault(operation, "lose" if executed else "drop"))
    assert len(set(site.tokens()) - before) == 1  # the first write was done
    result = site.keep()
    assert len(set(site.tokens()) - before) == 1  # and is used, not repeated
    assert result["token_id"] in set(site.tokens()) - before
    site.agree()


@pytest.mark.parametrize("start", ["absent", "short", "scheduled", "garbage", "token gone"])
def test_two_writers_at_once(site: Site, start: str) -> None:
    """Both have made their plan and their token before either writes the secret."""
    if start != "absent":
        first = site.keep()["token_id"]
        if start == "short":
            site.set_end(first, in_hours(1))
        elif start == "scheduled":
            site.aws.client().delete_secret(SecretId=NAME)
            site.api.call("DELETE", f"{SECRETS}/bootstrap-token-{first}")
        elif start == "garbage":
            site.store("garbage")
            site.api.call("DELETE", f"{SECRETS}/bootstrap-token-{first}")
        else:
            site.api.call("DELETE", f"{SECRETS}/bootstrap-token-{first}")
    both = threading.Barrier(2)
    operation = {"absent": "CreateSecret", "scheduled": "RestoreSecret"}.get(start, "PutSecretValue")
    site.aws.faults.append(Fault(operation, "hold", times=2, then=lambda: both.wait(20) and None))
    results: list[t.Any] = []
    writers = [threading.Thread(target=lambda: results.append(site.keep())) for _index in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert len(results) == 2
    assert [result["token_id"] for result in results] == [site.stored()["token"].partition(".")[0]] * 2
    assert any(result["changed"] for result in results)
    site.agree()
    lasting = [end for end in site.tokens().values() if end and end > in_hours(24)]
    assert len(lasting) == 1  # the loser withdrew its own


def test_many_writers_again_and_again(site: Site) -> None:
    errors: list[Exception] = []

    def work() -> None:
        try:
            site.keep(grace="1m")
        except GpufleetError as error:
            errors.append(error)

    for round_number in range(4):
        for token_id in site.tokens():
            site.set_end(token_id, in_hours(1))
        if round_number == 2:
            site.aws.client().delete_secret(SecretId=NAME)
        writers = [threading.Thread(target=work) for _index in range(5)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(120)
        assert errors == []
        site.agree()


@pytest.mark.parametrize("kind", ["throttle", "drop", "InternalServiceError"])
def test_passing_faults_are_ridden_out(site: Site, kind: str) -> None:
    site.aws.faults.append(Fault("*", kind, times=4))
    assert site.keep()["reason"] == "create"
    site.agree()


@pytest.mark.parametrize("operation", ["CreateSecret", "PutSecretValue", "UpdateSecretVersionStage", "RestoreSecret"])
def test_a_lost_answer_does_not_write_twice(site: Site, operation: str) -> None:
    if operation != "CreateSecret":
        site.set_end(site.keep()["token_id"], in_hours(1))
    if operation == "RestoreSecret":
        site.aws.client().delete_secret(SecretId=NAME)
    before = set(site.tokens())
    site.aws.faults.append(Fault(operation, "lose"))
    site.keep()
    assert len(set(site.tokens()) - before) == 1
    versions = site.aws.client().list_secret_version_ids(SecretId=NAME)["Versions"]
    assert len(versions) == (1 if operation == "CreateSecret" else 2)
    site.agree()


def test_a_failing_write_takes_its_token_back(site: Site) -> None:
    site.aws.faults.append(
        Fault(
            "CreateSecret", "AccessDeniedException", message="User: x is not authorized to perform: secretsmanager:CreateSecret"
        )
    )
    with pytest.raises(
        GpufleetError, match=r"could not publish .* it needs secretsmanager:CreateSecret .*rolled back: create bootstrap"
    ) as refused:
        site.keep()
    assert refused.value.facts["undone"] == ["create bootstrap token"]
    assert site.tokens() == {}


def test_a_published_token_is_not_taken_back(site: Site) -> None:
    """The answers to the write and to all later questions are lost: it may be published, so the token stays."""
    faults = site.aws.faults
    faults.append(Fault("CreateSecret", "lose", then=lambda: faults.append(Fault("*", "drop", times=99))))
    with pytest.raises(GpufleetError, match="gave no usable answer"):
        site.keep(retry_budget=1)
    site.aws.faults.clear()
    site.agree()


def test_someone_changes_the_old_token_meanwhile(site: Site) -> None:
    old = site.keep()["token_id"]
    site.set_end(old, in_hours(1))
    site.aws.faults.append(Fault("UpdateSecretVersionStage", "hold", then=lambda: site.set_end(old, in_hours(2))))
    result = site.keep()
    assert result["changed"]
    assert result["actions"][-1] == f"retire bootstrap token {old}"
    assert site.tokens()[old] < in_hours(0.3)
    site.agree()


def test_the_token_is_signed_when_the_module_returns(site: Site) -> None:
    """Without a signature in cluster-info kubeadm waits; kube-controller-manager makes it a moment after the token."""
    for _index in range(3):
        token_id = site.keep()["token_id"]
        assert f"jws-kubeconfig-{token_id}" in site.api.call("GET", CLUSTER_INFO)["data"]
        site.api.call("DELETE", f"{SECRETS}/bootstrap-token-{token_id}")


# --- hyperpod_token_info waits -------------------------------------------------------------------------------------------


def test_info_waits_until_it_is_published(site: Site) -> None:
    publisher = threading.Timer(1.5, site.keep)
    publisher.start()
    result = site.ask(wait_timeout=30)
    publisher.join()
    assert result["waited"] >= 1
    assert result["token_id"] in site.tokens()


def test_info_waits_until_an_expired_one_is_renewed(site: Site) -> None:
    old = site.keep()["token_id"]
    site.set_end(old, in_hours(-1))
    document = {**site.stored(), "expires": in_hours(-1).strftime("%Y-%m-%dT%H:%M:%SZ")}
    site.store(json.dumps(document))
    with pytest.raises(GpufleetError, match=f"its token {old} expired at {document['expires']}") as refused:
        site.ask(wait_timeout=1)
    assert refused.value.facts["attempts"] > 1
    publisher = threading.Timer(1.0, site.keep)
    publisher.start()
    assert site.ask(wait_timeout=30)["token_id"] != old
    publisher.join()


def test_info_never_changes_anything(site: Site) -> None:
    site.keep()
    site.aws.calls.clear()
    site.ask()
    assert site.calls() == ["GetSecretValue"]


# --- permissions ---------------------------------------------------------------------------------------------------------


def policy(name: str, partition: str, region: str) -> dict[str, t.Any]:
    text = (ROOT / "docs/policies" / f"{name}.json").read_text()
    for word, value in (("PARTITION", partition), ("REGION", region), ("ACCOUNT", ACCOUNT), ("CLUSTER_ID", ID)):
        text = text.replace(word, value)
    return json.loads(text)


def allowed(document: dict[str, t.Any]) -> set[str]:
    listed = [statement["Action"] for statement in document["Statement"]]
    return {action for actions in listed for action in ([actions] if isinstance(actions, str) else actions)}


@pytest.mark.parametrize("partition", PARTITIONS)
def test_the_whole_life_of_a_secret_is_within_the_policies_and_needs_all_of_them(site: Site, partition: str) -> None:
    site.user, site.region = "keeper", PARTITIONS[partition]
    head, worker = (policy(name, partition, site.region) for name in ("head", "worker"))
    site.aws.policy = worker
    with pytest.raises(GpufleetError, match="there is no such secret"):
        site.ask()
    site.aws.policy = head
    site.keep(check=True)
    site.set_end(site.keep()["token_id"], in_hours(1))
    site.keep()
    site.keep(state="absent")
    site.keep()
    site.keep(state="absent", force_delete=True)
    used = {call.action for call in site.aws.calls}
    assert used == allowed(head)
    assert {call.region for call in site.aws.calls} == {site.region}
    site.keep()
    site.aws.policy = worker
    site.aws.calls.clear()
    assert site.ask()["join"]
    assert {call.action for call in site.aws.calls} == allowed(worker)
    with pytest.raises(GpufleetError, match=r"was denied to .*: it needs secretsmanager:(Describe|Create|Delete)"):
        site.keep(state="absent")


def test_another_cluster_is_out_of_reach(site: Site) -> None:
    site.aws.policy = policy("worker", "aws", "us-west-2")
    with pytest.raises(GpufleetError, match="it needs secretsmanager:GetSecretValue"):
        site.ask(cluster_arn=site.arn().replace(ID, "another12345"))
