"""Writes gpuctl/desired/dashboard.json: python -m dashboard."""

from pathlib import Path

from dashboard.board import text

FILE = Path(__file__).parents[1] / "gpuctl" / "desired" / "dashboard.json"

if __name__ == "__main__":
    FILE.write_text(text())
