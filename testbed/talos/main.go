// Command talos-config judges Talos machine configuration with Talos' own configuration library.
//
// The Talos version is compiled in: one binary judges one line, so it is built once per line.
//
//	talos-config generate CONTRACT ROLE   a throw-away configuration of a new node; ROLE: worker, controlplane
//	talos-config patch BASE PATCH...      BASE with patches, as text
//	talos-config check BASE PATCH...      the same, read again and validated for bare metal; a verdict as JSON
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/validation"
	"github.com/siderolabs/talos/pkg/machinery/constants"
)

// metal is the platform of a bare-metal node.
type metal struct{}

func (metal) String() string        { return "metal" }
func (metal) RequiresInstall() bool { return true }
func (metal) InContainer() bool     { return false }

// verdict is what check prints. Stage names the step that failed: load (the patch), apply (the merge), reload (the
// merged text), validate, or panic; it is empty when none did.
type verdict struct {
	Stage    string   `json:"stage"`
	Errors   []string `json:"errors"`
	Warnings []string `json:"warnings"`
	Merged   string   `json:"merged"`
}

func generated(contract, role string) (string, error) {
	version, err := config.ParseContractFromVersion(contract)
	if err != nil {
		return "", err
	}

	kind, err := machine.ParseType(role)
	if err != nil {
		return "", err
	}

	bundle, err := secrets.NewBundle(secrets.NewClock(), version)
	if err != nil {
		return "", err
	}

	input, err := generate.NewInput("gpu-test", "https://192.0.2.10:6443", constants.DefaultKubernetesVersion,
		generate.WithVersionContract(version), generate.WithSecretsBundle(bundle), generate.WithInstallDisk("/dev/sda"))
	if err != nil {
		return "", err
	}

	made, err := input.Config(kind)
	if err != nil {
		return "", err
	}

	text, err := made.EncodeBytes(encoder.WithComments(encoder.CommentsDisabled))

	return string(text), err
}

func patched(base string, paths []string) (string, error) {
	judged := check(base, paths)
	if judged.Stage != "" {
		return "", errors.New(strings.Join(judged.Errors, "; "))
	}

	return judged.Merged, nil
}

// check merges and judges. A panic inside the library is a verdict too: it is what talosctl would do. The merged text
// is read again because some merges look right in memory and cannot be read back.
func check(base string, paths []string) (judged verdict) {
	judged = verdict{Errors: []string{}, Warnings: []string{}}

	defer func() {
		if cause := recover(); cause != nil {
			judged.Stage, judged.Errors = "panic", []string{fmt.Sprint(cause)}
		}
	}()

	stage, err := judge(&judged, base, paths)
	if err != nil {
		judged.Stage, judged.Errors = stage, messages(err)
	}

	return judged
}

func judge(judged *verdict, base string, paths []string) (string, error) {
	unpatched, err := configloader.NewFromFile(base)
	if err != nil {
		return "base", err
	}

	var arguments []string
	for _, path := range paths {
		arguments = append(arguments, "@"+path)
	}

	patches, err := configpatcher.LoadPatches(arguments)
	if err != nil {
		return "load", err
	}

	applied, err := configpatcher.Apply(configpatcher.WithConfig(unpatched), patches)
	if err != nil {
		return "apply", err
	}

	text, err := applied.Bytes()
	if err != nil {
		return "apply", err
	}

	merged, err := configloader.NewFromBytes(text)
	if err != nil {
		return "reload", err
	}

	judged.Merged = string(text)

	warnings, err := merged.Validate(metal{}, validation.WithLocal())
	judged.Warnings = append(judged.Warnings, warnings...)

	return "validate", err
}

// messages are those of a collected error, each on one line. Only the outermost collection is split, so that a prefix
// such as "invalid node labels" stays with its message.
func messages(err error) []string {
	var inner []error

	switch collected := err.(type) {
	case interface{ WrappedErrors() []error }:
		inner = collected.WrappedErrors()
	case interface{ Unwrap() []error }:
		inner = collected.Unwrap()
	default:
		return []string{strings.Join(strings.Fields(err.Error()), " ")}
	}

	var all []string
	for _, each := range inner {
		all = append(all, messages(each)...)
	}

	return all
}

func run(arguments []string) (string, error) {
	if len(arguments) < 2 {
		return "", errors.New("generate CONTRACT ROLE, patch BASE PATCH... or check BASE PATCH...")
	}

	switch verb, rest := arguments[0], arguments[1:]; {
	case verb == "generate" && len(rest) == 2:
		return generated(rest[0], rest[1])
	case verb == "patch":
		return patched(rest[0], rest[1:])
	case verb == "check":
		text, err := json.Marshal(check(rest[0], rest[1:]))

		return string(text), err
	default:
		return "", fmt.Errorf("unknown verb %s", verb)
	}
}

func main() {
	text, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "talos-config:", err)
		os.Exit(1)
	}

	fmt.Print(text)
}
