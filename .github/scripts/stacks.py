"""Names the stacks that CI looks after, as the value of a job's matrix.

They are those of the variable GPU_STACKS that have a stack file here; without it there are none, so that a copy of
this repository does nothing to clusters before its owner says so.
"""

import json
import os
from pathlib import Path

FOLDER = Path("config")
"""Names alone decide: a stack file with mistakes, whatever they are, ends its own stack's job and no other."""


def main() -> None:
    """Writes `stacks=[...]` to the job's outputs."""
    wanted = os.environ["GPU_STACKS"].split()
    known = sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in FOLDER.glob("Pulumi.*.yaml"))
    for name in (name for name in wanted if name not in known):
        print(f"::warning::the variable GPU_STACKS names {name}, which has no file config/Pulumi.{name}.yaml")
    if not wanted:
        print("::notice::the variable GPU_STACKS is empty, so no cluster is looked at; see docs/pull-requests.md")
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") as outputs:
        outputs.write(f"stacks={json.dumps([name for name in known if name in wanted])}\n")


if __name__ == "__main__":
    main()
