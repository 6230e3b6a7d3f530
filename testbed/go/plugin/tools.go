//go:build tools

// Package plugin pins the NVIDIA device plugin; the import keeps its checksums in go.sum.
package plugin

import _ "github.com/NVIDIA/k8s-device-plugin/cmd/nvidia-device-plugin"
