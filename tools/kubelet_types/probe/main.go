// Copyright: the gpufleet.k8s authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Prints what one release of the kubelet knows about its configuration, as JSON: the fields of every type reachable from
// KubeletConfiguration, the defaults, and all feature gates. Built by ../generate.py against that release's own packages,
// so nothing is parsed out of source text that the compiler knows better.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
	kubelet "k8s.io/kubelet/config/v1beta1"
	_ "k8s.io/kubernetes/pkg/features"
	defaults "k8s.io/kubernetes/pkg/kubelet/apis/config/v1beta1"
)

type field struct {
	Go   string `json:"go"`
	Type string `json:"type"`
}

var (
	types = map[string]map[string]field{}
	// Types that read themselves from JSON: what they accept is their own business, so each is named here.
	scalars = map[string]string{
		"v1.Duration":            "duration",
		"v1.Time":                "time",
		"v1.TimeOrMetaDuration":  "duration",
		"resource.Quantity":      "quantity",
		"resource.QuantityValue": "quantity",
		"json.RawMessage":        "any",
	}
	more        []reflect.Type // see kubeadm.go
	unmarshaler = reflect.TypeOf((*json.Unmarshaler)(nil)).Elem()
)

func name(t reflect.Type) string {
	if scalar, ok := scalars[t.String()]; ok {
		return scalar
	}
	if t.Kind() == reflect.Pointer {
		return "?" + name(t.Elem())
	}
	if t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(unmarshaler) {
		panic(fmt.Sprintf("%s reads itself from JSON; say in probe/main.go what it accepts", t))
	}
	switch t.Kind() {
	case reflect.Slice:
		return "[]" + name(t.Elem())
	case reflect.Map:
		return "{}" + name(t.Elem())
	case reflect.String, reflect.Bool, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64, reflect.Float64:
		return t.Kind().String()
	case reflect.Float32:
		return "float64"
	case reflect.Int:
		return "int64"
	case reflect.Uint8:
		return "uint32"
	case reflect.Struct:
		walk(t)
		return t.Name()
	}
	panic(fmt.Sprintf("%s is a kind of type that this program has not met", t))
}

func walk(t reflect.Type) {
	if types[t.Name()] != nil {
		return
	}
	types[t.Name()] = map[string]field{}
	fill(types[t.Name()], t)
}

func fill(fields map[string]field, t reflect.Type) {
	for i := 0; i < t.NumField(); i++ {
		tag, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if options == "inline" || (tag == "" && t.Field(i).Anonymous) {
			fill(fields, t.Field(i).Type)
			continue
		}
		if tag == "-" || tag == "" {
			continue
		}
		fields[tag] = field{t.Field(i).Name, name(t.Field(i).Type)}
	}
}

func main() {
	if err := logsapi.AddFeatureGates(utilfeature.DefaultMutableFeatureGate); err != nil { // as the kubelet does
		panic(err)
	}
	gates := map[string]string{}
	for gate, spec := range utilfeature.DefaultMutableFeatureGate.GetAll() {
		stage := map[string]string{string(featuregate.Alpha): "a", string(featuregate.Beta): "b", string(featuregate.GA): "g", string(featuregate.Deprecated): "d"}[fmt.Sprint(spec.PreRelease)]
		if stage == "" {
			stage = "p" // before alpha: cannot be set
		}
		if spec.LockToDefault {
			stage = strings.ToUpper(stage)
		}
		if spec.Default {
			stage += "+"
		}
		gates[string(gate)] = stage
	}
	needs := map[string][]string{}
	if known, ok := utilfeature.DefaultMutableFeatureGate.(interface { // from 1.35 on
		Dependencies() map[featuregate.Feature][]featuregate.Feature
	}); ok {
		for gate, those := range known.Dependencies() {
			for _, other := range those {
				needs[string(gate)] = append(needs[string(gate)], string(other))
			}
		}
	}
	for _, root := range append(more, reflect.TypeOf(kubelet.KubeletConfiguration{})) {
		walk(root)
	}
	configuration := &kubelet.KubeletConfiguration{}
	defaults.SetDefaults_KubeletConfiguration(configuration)
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"types": types, "gates": gates, "needs": needs, "defaults": configuration}); err != nil {
		panic(err)
	}
}
