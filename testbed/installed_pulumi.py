"""Whether the machine's own Pulumi can be used instead of a built one."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from testbed.go_tools import PROVIDER_VERSION, PULUMI_VERSION


def provider() -> Path | None:
    """The installed Kubernetes provider, when all of Pulumi is there; else None, and all of it is built.

    "All" is a CLI on PATH that is not older than the SDK and has its major version, the Python language host
    beside it, and the Kubernetes provider in the exact version, as `pulumi plugin ls` shows it.
    """
    pulumi = shutil.which("pulumi")
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    installed = home / "plugins" / f"resource-kubernetes-v{PROVIDER_VERSION}" / "pulumi-resource-kubernetes"
    if pulumi is None or not installed.exists() or not shutil.which("pulumi-language-python"):
        return None
    answer = subprocess.run([pulumi, "version"], capture_output=True, text=True, check=False).stdout
    return installed if is_usable(answer) else None


def is_usable(answer: str) -> bool:
    """Whether `pulumi version` names a CLI that fits the SDK."""
    version, wanted = _numbers(answer), _numbers(PULUMI_VERSION)
    return version[:1] == wanted[:1] and version >= wanted


def _numbers(text: str) -> list[int]:
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return [int(number) for number in match.groups()] if match else []
