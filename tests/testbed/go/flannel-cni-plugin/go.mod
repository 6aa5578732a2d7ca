// `go mod tidy -e`: only files for Windows want the package that github.com/containernetworking/cni 1.x dropped.
// cni 1.x because 0.8 (what this plugin was written for) refuses the cniVersion 1.0.0 of flannel's manifest.
module gpufleet.invalid/testbed/flannel-cni-plugin

go 1.26.0

require (
	github.com/Microsoft/go-winio v0.4.11 // indirect
	github.com/Microsoft/hcsshim v0.8.6 // indirect
	github.com/buger/jsonparser v0.0.0-20180808090653-f4dd9f5a6b44 // indirect
	github.com/containernetworking/cni v1.3.1 // indirect
	github.com/containernetworking/plugins v0.9.1 // indirect
	github.com/sirupsen/logrus v1.0.6 // indirect
	github.com/vishvananda/netns v0.0.4 // indirect
	go.opentelemetry.io/otel v1.29.0 // indirect
	go.opentelemetry.io/otel/trace v1.29.0 // indirect
	golang.org/x/crypto v0.0.0-20200622213623-75b288015ac9 // indirect
	golang.org/x/sys v0.23.0 // indirect
)

tool github.com/containernetworking/plugins/plugins/meta/flannel
