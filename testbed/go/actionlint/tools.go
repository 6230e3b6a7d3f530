//go:build tools

// Package actionlint pins actionlint, which reads GitHub's workflows; the import keeps its checksums in go.sum.
package actionlint

import _ "github.com/rhysd/actionlint/cmd/actionlint"
