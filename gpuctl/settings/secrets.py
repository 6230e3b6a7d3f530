"""Which keys of a stack file are secrets: those whose type in the model says so."""

from typing import get_args

from pydantic import SecretStr

from gpuctl.settings.model import Settings

SECRET_FIELDS = {
    field: f"gpu:{said.alias}"
    for field, said in Settings.model_fields.items()
    if SecretStr in get_args(said.annotation)
}
"""Field of the model -> key of the stack file."""
