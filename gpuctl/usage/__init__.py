"""The usage watchers' lines, read, and joined with the pods whose processes they name."""
