// Copyright: the gpufleet.k8s authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// What `kubeadm init` and `kubeadm join` read beside the kubelet's configuration. Built in from the first minor that the role kubeadm knows.
package main

import (
	"reflect"

	proxy "k8s.io/kube-proxy/config/v1alpha1"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/v1beta4"
)

func init() {
	scalars["v1.BootstrapTokenString"] = "string"
	more = append(more, reflect.TypeOf(kubeadm.ClusterConfiguration{}), reflect.TypeOf(kubeadm.InitConfiguration{}),
		reflect.TypeOf(kubeadm.JoinConfiguration{}), reflect.TypeOf(proxy.KubeProxyConfiguration{}))
}
