"""Facts about what is live: why a pod does not run, who holds which GPU, what a node offers, what a log says."""
