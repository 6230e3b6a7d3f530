//go:build tools

// Package kwok pins kwok, which plays nodes and their pods; the import keeps its checksums in go.sum.
package kwok

import _ "sigs.k8s.io/kwok/cmd/kwok"
