//go:build tools

// Package dradriver pins NVIDIA's DRA driver and the hook that its CDI specs name; the imports keep their checksums in
// go.sum.
package dradriver

import (
	_ "github.com/NVIDIA/nvidia-container-toolkit/cmd/nvidia-cdi-hook"
	_ "sigs.k8s.io/dra-driver-nvidia-gpu/cmd/gpu-kubelet-plugin"
)
