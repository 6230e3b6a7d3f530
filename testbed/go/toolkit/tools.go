//go:build tools

// Package toolkit pins the NVIDIA container runtime; the imports keep its checksums in go.sum.
package toolkit

import (
	_ "github.com/NVIDIA/nvidia-container-toolkit/cmd/nvidia-container-runtime"
	_ "github.com/NVIDIA/nvidia-container-toolkit/cmd/nvidia-ctk"
)
