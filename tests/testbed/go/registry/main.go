// Copyright: the gpufleet.k8s authors
// SPDX-License-Identifier: GPL-3.0-or-later

// The registry that keeps its images in a folder, and no other: the storage clouds' SDKs are most of a full build's time.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if registry.RootCmd.Execute() != nil {
		os.Exit(1)
	}
}
