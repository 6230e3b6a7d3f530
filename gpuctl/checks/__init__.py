"""Checks as data: statements about a live cluster that are true, or have a remedy."""
