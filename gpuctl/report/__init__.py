"""How the findings of a run look: for people, for machines, for a pull request."""
