"""Commands for a person to copy: a shell takes every word as the one that was meant."""

import shlex


def command(*words: str) -> str:
    """A command of one line, quoted for sh; a word with control characters in it as bash, zsh and ksh write it."""
    return " ".join(map(quoted, words))


def quoted(word: str) -> str:
    """One word of a command."""
    return shlex.quote(word) if word.isprintable() else f"$'{''.join(map(_escaped, word))}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))
