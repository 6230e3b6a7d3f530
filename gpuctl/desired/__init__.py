"""What the cluster must look like: pure functions of the settings, which every reader calls and none repeats."""
