// Command pulumi-config says what Pulumi makes of stack files, with Pulumi's own code.
//
//	pulumi-config PULUMI.YAML
//
// Each line of its input is a request, each line of its output the answer: the stack file as the engine loads it, edited
// as `pulumi config set` and `rm` do, and checked against the project's declarations, with their defaults put in.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi/sdk/v3/go/common/esc"
	engine "github.com/pulumi/pulumi/pkg/v3/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
)

type edit struct {
	Verb   string `json:"verb"`
	Key    string `json:"key"`
	Path   bool   `json:"path"`
	Value  string `json:"value"`
	Secret bool   `json:"secret"`
}

type request struct {
	Text  string `json:"text"`
	Edits []edit `json:"edits"`
}

// answer is what became of a file. Stage names the step that failed: load, edit, validate, or panic.
type answer struct {
	Stage  string            `json:"stage"`
	Error  string            `json:"error"`
	Config map[string]string `json:"config"`
	Passed map[string]string `json:"passed"`
}

func apply(stack config.Map, each edit) error {
	key, err := config.ParseKey(each.Key)
	if err != nil {
		return err
	}

	if each.Verb == "rm" {
		return stack.Remove(key, each.Path)
	}

	if each.Secret {
		return stack.Set(key, config.NewSecureValue(each.Value), each.Path)
	}

	return stack.Set(key, config.NewValue(each.Value), each.Path)
}

func texts(stack config.Map) (map[string]string, error) {
	values, err := stack.Decrypt(config.NopDecrypter)
	found := map[string]string{}
	for key, value := range values {
		found[key.String()] = value
	}

	return found, err
}

func answered(project *workspace.Project, file string, asked request) (said answer) {
	said.Stage = "panic"

	defer func() {
		if reason := recover(); reason != nil {
			said.Error = fmt.Sprint(reason)
		}
	}()

	failed := func(stage string, err error) answer {
		said.Stage, said.Error = stage, err.Error()

		return said
	}

	if err := os.WriteFile(file, []byte(asked.Text), 0o600); err != nil {
		panic(err)
	}

	stack, err := workspace.LoadProjectStack(nil, project, file)
	if err != nil {
		return failed("load", err)
	}

	for _, each := range asked.Edits {
		if err := apply(stack.Config, each); err != nil {
			return failed("edit", fmt.Errorf("%s %s: %w", each.Verb, each.Key, err))
		}
	}

	if said.Config, err = texts(stack.Config); err != nil {
		return failed("load", err)
	}

	err = engine.ValidateStackConfigAndApplyProjectConfig(
		context.Background(), "fixture", project, esc.Value{}, stack.Config, config.NopEncrypter, config.NopDecrypter)
	if err != nil {
		return failed("validate", err)
	}

	if said.Passed, err = texts(stack.Config); err != nil {
		return failed("validate", err)
	}

	said.Stage = ""

	return said
}

func run() error {
	project, err := workspace.LoadProject(os.Args[1])
	if err != nil {
		return err
	}

	folder, err := os.MkdirTemp("", "pulumi-config-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)

	input := json.NewDecoder(bufio.NewReader(os.Stdin))
	output := json.NewEncoder(os.Stdout)

	for input.More() {
		var asked request
		if err := input.Decode(&asked); err != nil {
			return err
		}

		if err := output.Encode(answered(project, filepath.Join(folder, "Pulumi.fixture.yaml"), asked)); err != nil {
			return err
		}
	}

	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
