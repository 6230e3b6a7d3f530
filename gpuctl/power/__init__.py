"""What the power-limit agent says: its lines, read; and what they add up to."""
