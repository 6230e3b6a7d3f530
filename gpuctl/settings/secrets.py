"""Which keys of a stack file are secrets, encrypted there and never shown: those whose type in the model says so."""

from typing import get_args

from pydantic import SecretStr

from gpuctl.settings.model import Settings

_KEY_OF_FIELD = {
    field: str(said.alias) for field, said in Settings.model_fields.items() if SecretStr in get_args(said.annotation)
}
SECRETS = tuple(_KEY_OF_FIELD.values())
"""As messages have them: without the project's name."""
SECRET_FIELDS = {field: f"gpu:{key}" for field, key in _KEY_OF_FIELD.items()}
"""Field of the model -> key of the stack file."""
