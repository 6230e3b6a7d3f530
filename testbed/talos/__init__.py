"""Talos' own configuration library as the judge of machine configurations, one build per line of Talos."""

from testbed.talos.library import CONTRACTS, LINES, RELEASES, Verdict, base, check, library, merge

__all__ = ["CONTRACTS", "LINES", "RELEASES", "Verdict", "base", "check", "library", "merge"]
