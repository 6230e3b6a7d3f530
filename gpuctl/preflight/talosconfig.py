"""What a talosconfig, the file of talosctl, says about how to reach a cluster."""

from typing import Any, NamedTuple

import yaml


class ClientConfiguration(NamedTuple):
    """The certificates with which a client of the Talos API shows itself, in Base64 as the file has them."""

    ca: str
    crt: str
    key: str


def client_configuration(talosconfig: str) -> ClientConfiguration:
    """The certificates of the current context.

    Raises:
        ValueError: the text is no talosconfig; without any of its content, which is secret.
    """
    try:
        document: Any = yaml.safe_load(talosconfig)
        context = document["contexts"][document["context"]]
        return ClientConfiguration(*(str(context[field]) for field in ClientConfiguration._fields))
    except (yaml.YAMLError, KeyError, TypeError):
        raise ValueError("is no talosconfig with a current context and its ca, crt and key") from None
