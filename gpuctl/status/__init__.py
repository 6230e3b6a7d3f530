"""What the GPUs of a stack do at this moment: pure functions from what was seen to rows, text and plain data."""
