#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What a good administrator's script does for a HyperPod node, without Ansible: the yardstick of this benchmark.
# Usage, on a node as root: by_hand.sh common | init | join ENDPOINT TOKEN HASH. Needs the variables that run.py exports.
# It takes the same artifacts from the same mirror, checks the same sums and leaves the same cluster.
set -euo pipefail

fetch() { # URL-without-scheme FILE
    local url=$MIRROR/$1 file=$2
    curl -fsS --retry 3 -o "$file" "$url"
    echo "$(curl -fsS --retry 3 "$url.sha256" | cut -d' ' -f1)  $file" | sha256sum --check --quiet
}

common() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    modprobe -a overlay br_netfilter 2>/dev/null || true
    printf 'overlay\nbr_netfilter\n' >/etc/modules-load.d/kubernetes.conf
    printf 'net.ipv4.ip_forward = 1\nfs.inotify.max_user_instances = 8192\nfs.inotify.max_user_watches = 1048576\n' >/etc/sysctl.d/kubernetes.conf
    sysctl -q -p /etc/sysctl.d/kubernetes.conf

    fetch "github.com/containerd/containerd/releases/download/v$CONTAINERD/containerd-$CONTAINERD-linux-amd64.tar.gz" containerd.tgz &
    fetch "github.com/opencontainers/runc/releases/download/v$RUNC/runc.amd64" runc &
    fetch "github.com/containernetworking/plugins/releases/download/v$CNI/cni-plugins-linux-amd64-v$CNI.tgz" cni.tgz &
    fetch "github.com/kubernetes-sigs/cri-tools/releases/download/v$CRICTL/crictl-v$CRICTL-linux-amd64.tar.gz" crictl.tgz &
    for program in kubeadm kubelet kubectl; do
        fetch "dl.k8s.io/release/v$KUBERNETES/bin/linux/amd64/$program" $program &
    done
    for job in $(jobs -p); do wait "$job"; done
    mkdir -p /opt/cni/bin
    tar -xzf containerd.tgz -C /usr/local
    tar -xzf cni.tgz -C /opt/cni/bin
    tar -xzf crictl.tgz -C /usr/local/bin
    install -m 0755 runc /usr/local/sbin/runc
    install -m 0755 kubeadm kubelet kubectl /usr/local/bin/

    mountpoint -q /opt/dlami/nvme
    mkdir -p /etc/containerd/certs.d/_default /opt/dlami/nvme/{containerd,kubelet} /var/lib/kubelet
    mount --bind /opt/dlami/nvme/kubelet /var/lib/kubelet
    cat >/etc/containerd/config.toml <<EOF
version = 3
root = "/opt/dlami/nvme/containerd"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "registry.k8s.io/pause:3.10.2"
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "/etc/containerd/certs.d"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = true
EOF
    printf '[host."%s"]\ncapabilities = ["pull", "resolve"]\n' "$REGISTRY" >/etc/containerd/certs.d/_default/hosts.toml
    printf 'runtime-endpoint: unix:///run/containerd/containerd.sock\n' >/etc/crictl.yaml
    cat >/etc/systemd/system/containerd.service <<EOF
[Service]
Type=notify
ExecStart=/usr/local/bin/containerd
Delegate=yes
KillMode=process
Restart=always
LimitMEMLOCK=infinity
[Install]
WantedBy=multi-user.target
EOF
    mkdir -p /etc/systemd/system/kubelet.service.d /etc/kubernetes/kubelet.conf.d
    cat >/etc/systemd/system/kubelet.service <<EOF
[Service]
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=/usr/local/bin/kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
  --config=/var/lib/kubelet/config.yaml --config-dir=/etc/kubernetes/kubelet.conf.d \$KUBELET_KUBEADM_ARGS
Restart=always
RestartSec=2
[Install]
WantedBy=multi-user.target
EOF
    systemctl daemon-reload
    systemctl -q enable --now containerd
    systemctl -q enable kubelet
}

registration() { # the part of nodeRegistration that both kinds of node have
    cat <<EOF
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
  ignorePreflightErrors: [SystemVerification, FileContent--proc-sys-net-bridge-bridge-nf-call-iptables]
  kubeletExtraArgs: [{name: node-ip, value: $NODE_IP}, {name: node-labels, value: node.kubernetes.io/instance-type=$INSTANCE_TYPE}]
EOF
}

init() {
    {
        printf 'apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nlocalAPIEndpoint: {advertiseAddress: %s}\n' "$NODE_IP"
        registration
        cat <<EOF
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v$KUBERNETES
networking: {podSubnet: 10.244.0.0/16, serviceSubnet: $SERVICE_SUBNET}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
$KUBELET_SANDBOX
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
$PROXY_SANDBOX
EOF
    } >/root/init.yaml
    kubeadm init --config /root/init.yaml >/root/init.log
    export KUBECONFIG=/etc/kubernetes/admin.conf
    fetch "raw.githubusercontent.com/flannel-io/flannel/v$FLANNEL/Documentation/kube-flannel.yml" /root/kube-flannel.yml
    kubectl apply --server-side -f /root/kube-flannel.yml >/dev/null
    kubeadm token create --print-join-command
}

join() {
    {
        printf 'apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\n'
        registration
        printf 'discovery: {bootstrapToken: {apiServerEndpoint: "%s", token: %s, caCertHashes: ["%s"]}}\n' "$1" "$2" "$3"
    } >/root/join.yaml
    kubeadm join --config /root/join.yaml >/root/join.log
}

ready() { # NUMBER: every node is there and Ready, the network pods on all of them too
    export KUBECONFIG=/etc/kubernetes/admin.conf
    timeout 300 bash -c "until [ \$(kubectl get nodes -o name | wc -l) = $1 ]; do sleep 0.2; done"
    kubectl wait --for=condition=Ready nodes --all --timeout=300s >/dev/null
    kubectl -n kube-flannel rollout status daemonset/kube-flannel-ds --timeout=300s >/dev/null
}

"$@"
