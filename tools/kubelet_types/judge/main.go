// Copyright: the gpufleet.k8s authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Prints, for each KubeletConfiguration on a line of its input, what one release's own validation says: why it is refused, as
// JSON, or an empty string. Built by ../verdicts.py against that release's own packages.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // as the kubelet does
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/scheme"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/validation"
)

func judge(document []byte) (verdict error) {
	defer func() {
		if reason := recover(); reason != nil { // so a kubelet from 1.32 on ends when it does not know a gate
			verdict = fmt.Errorf("panic: %v", reason)
		}
	}()
	_, codecs, err := scheme.NewSchemeAndCodecs()
	if err != nil {
		panic(err)
	}
	decoded, err := runtime.Decode(codecs.UniversalDecoder(), document)
	if err != nil {
		return err
	}
	configuration := decoded.(*kubeletconfig.KubeletConfiguration)
	if err := validation.ValidateKubeletConfiguration(configuration, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	if _, err := cliflag.TLSCipherSuites(configuration.TLSCipherSuites); err != nil {
		return err
	}
	_, err = cliflag.TLSVersion(configuration.TLSMinVersion)
	return err
}

func main() {
	if err := logsapi.AddFeatureGates(utilfeature.DefaultMutableFeatureGate); err != nil { // as the kubelet does
		panic(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		verdict := ""
		if err := judge(lines.Bytes()); err != nil {
			verdict = err.Error()
		}
		line, _ := json.Marshal(verdict)
		fmt.Println(string(line))
	}
}
