"""The files written from the model are up to date, and say about stack files what the model says."""

import json
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import yaml

from gpuctl.settings import Settings
from gpuctl.settings.catalogue import CATALOGUE, PowerRange
from reference.settings import files
from tests.fixtures.stack_files import INVALID, ROOT, SHIPPED, VALID, document_of

BEYOND_A_SCHEMA = {
    "a-gpu-that-is-whole-and-shared",
    "a-gpu-that-two-nodes-have",
    "a-budget-that-nobody-watches",
    "metrics-of-a-use-that-nobody-watches",
    "all-gpus-whole-beside-none-that-is-shared",
    "one-profile-for-nodes-with-and-without-whole-gpus",
    "shared-gpus-by-uuid-beside-a-number-of-whole-ones",
    "whole-gpus-beside-one-slice",
    "whole-gpus-by-uuid-without-the-shared-ones",
    "whole-gpus-of-several-models",
    "a-node-of-others-that-is-the-stacks",
    "a-circuit-that-no-limit-fits",
    "a-schematic-of-ones-own-for-nodes-that-differ",
    "a-contract-newer-than-talos",
    "a-contract-of-a-node-newer-than-talos",
    "a-contract-that-is-a-release",
    "a-default-runtime-without-a-handler",
    "a-driver-without-tag-in-no-folder",
    "dra-before-kubernetes-1.36",
    "dra-before-talos-1.13",
    "keys-of-the-device-plugin-with-dra",
    "talos-1.16",
    "whole-gpus-with-dra",
    "a-driver-that-does-not-know-a-gpu-any-more",
    "a-driver-that-does-not-know-a-gpu-yet",
    "a-gpu-of-blanks",
    "a-schematic-beside-extensions",
    "a-schematic-that-is-none",
    "an-extension-named-twice",
    "an-extension-of-the-stack-itself",
    "an-extension-without-its-owner",
    "an-installer-image-of-another-release",
    "an-overlay-without-an-image",
    "a-limit-of-threads-for-the-time-slices-of-a-node",
    "a-memory-limit-for-time-slices",
    "more-pods-than-mps-serves",
    "more-pods-than-mps-serves-on-a-blackwell",
    "mps-for-whole-gpus",
    "mps-on-a-gpu-before-volta",
    "mps-on-a-gpu-that-shares-the-memory-of-the-cpu",
    "mps-on-a-node-of-whole-gpus",
    "mps-on-gpus-of-several-models",
    "mps-with-the-dra-driver",
    "several-slices-for-one-pod-with-mps-before-v0.20",
    "slices-of-a-node-with-more-memory-than-the-gpu",
    "slices-with-more-memory-than-the-gpu",
    "two-names-for-one-profile-of-mps",
    "open-modules-of-driver-535-for-a-geforce",
    "a-kernel-argument-with-a-blank",
    "a-label-for-rules-without-a-value",
    "a-limit-above-one-cards-range",
    "a-limit-above-the-cards-range",
    "a-limit-below-the-cards-range",
    "a-limit-for-a-card-that-none-takes",
    "a-limit-for-a-model-outside-its-range",
    "a-limit-for-a-model-that-is-misspelt",
    "a-limit-for-a-model-that-no-node-has",
    "a-limit-for-cards-without-a-common-one",
    "a-namespace-in-capitals",
    "a-namespace-of-64-letters",
    "a-node-name-in-capitals",
    "a-node-whose-gpus-have-no-name",
    "a-node-with-an-empty-list-of-gpus",
    "a-node-with-more-gpus-of-several-models-than-it-holds",
    "a-nodes-limit-above-its-cards-range",
    "a-nodes-limit-above-the-range-of-one-of-its-cards",
    "a-nodes-limit-below-its-cards-range",
    "a-nodes-limit-for-cards-without-a-common-one",
    "a-plugin-after-v0.20",
    "a-plugin-before-v0.17",
    "a-plugin-version-without-its-v",
    "a-talos-line-instead-of-a-release",
    "an-address-of-blanks",
    "an-empty-context",
    "an-empty-node-name",
    "an-image-factory-with-a-path",
    "an-image-with-a-short-digest",
    "an-image-without-a-tag",
    "containerd-configuration-of-containerd-1",
    "containerd-configuration-that-is-not-toml",
    "default-limits-that-the-circuit-does-not-allow",
    "gpus-that-no-modules-drive-together",
    "kubernetes-older-than-talos-runs",
    "kubernetes-that-talos-does-not-run",
    "kubernetes-without-its-v",
    "more-watts-than-the-circuit-allows",
    "more-watts-than-the-circuit-allows-by-model-and-uuid",
    "more-watts-than-two-circuits-allow",
    "no-driver-of-the-line-knows-a-gpu-yet",
    "open-modules-for-a-gpu-older-than-turing",
    "packed-slices-before-v0.20",
    "patches-that-the-provider-cannot-apply",
    "patches-to-be-applied-by-nobody",
    "proprietary-modules-for-an-rtx-50",
    "renaming-although-one-node-shares-nothing",
    "renaming-gpus-that-are-not-shared",
    "talos-after-v1.14",
    "talos-before-v1.9",
    "talos-v1.13.1",
    "the-namespace-of-kubernetes",
    "two-default-runtimes",
    "two-nodes-of-one-name",
}
"""What only the model finds: it compares keys, or knows versions and names. An editor finds the rest as you type."""


def _is_accepted(document: Any) -> bool:
    validator: Any = jsonschema.Draft7Validator(json.loads((ROOT / "config" / "schema.json").read_text()))
    return validator.is_valid(document)


def _declared() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]


@pytest.mark.parametrize("path", files())
def test_a_generated_file_is_up_to_date(path: str) -> None:
    """Fixed by `make generate`."""
    assert (ROOT / path).read_text() == files()[path]


def test_the_schema_is_one_itself() -> None:
    jsonschema.Draft7Validator.check_schema(json.loads(files()["config/schema.json"]))


@pytest.mark.parametrize("path", [*SHIPPED, *VALID], ids=lambda path: path.stem)
def test_the_schema_accepts_what_the_model_accepts(path: Path) -> None:
    assert _is_accepted(document_of(path))


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_the_schema_rejects_what_a_schema_can(path: Path) -> None:
    assert _is_accepted(document_of(path)) == (path.stem in BEYOND_A_SCHEMA)


def test_pulumi_declares_the_keys_of_the_model_and_no_others() -> None:
    assert list(_declared()) == [f"gpu:{field.alias}" for field in Settings.model_fields.values()]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_pulumi_declares_the_models_default(name: str) -> None:
    """A key without one gets an empty value, so that the model reports it together with all other mistakes."""
    field = Settings.model_fields[name]
    empty: object = [] if name == "nodes" else ""
    value: Any = field.default
    default = [*cast("tuple[object, ...]", value)] if isinstance(value, tuple) else value
    expected = empty if field.is_required() or default is None else default
    assert _declared()[f"gpu:{field.alias}"]["default"] == expected


def test_pulumi_declares_types_it_checks_itself() -> None:
    kinds = {str: "string", int: "integer", bool: "boolean", list: "array", dict: "object"}
    for rule in _declared().values():
        assert rule["type"] == kinds[type(rule["default"])]


@pytest.mark.parametrize("key", CATALOGUE)
def test_a_cards_default_limit_lies_within_its_range(key: str) -> None:
    watts = CATALOGUE[key].watts
    assert watts.default is None or watts.nearest(watts.default) == watts.default


def test_the_nearest_legal_limit_stays_within_what_is_known() -> None:
    """An unknown side of the range is not checked: the GPU itself will say."""
    closed, open_above, unknown = PowerRange(100, 350, 480), PowerRange(150, 320, None), PowerRange(None, 360, None)
    assert [closed.nearest(watts) for watts in (99, 100, 300, 480, 481)] == [100, 100, 300, 480, 480]
    assert [open_above.nearest(watts) for watts in (149, 2000)] == [150, 2000]
    assert unknown.nearest(1) == 1


def test_a_range_is_told_as_far_as_it_is_known() -> None:
    ranges = [
        PowerRange(100, 350, 480),
        PowerRange(150, 320, None),
        PowerRange(None, 70, 70),
        PowerRange(None, 70, None),
    ]
    assert [str(watts) for watts in ranges] == ["100 to 480 W", "at least 150 W", "at most 70 W", "of unknown range"]
