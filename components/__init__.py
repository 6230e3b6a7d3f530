"""The Pulumi side: one component per file, thin over gpuctl.desired, and the only code that imports Pulumi."""
