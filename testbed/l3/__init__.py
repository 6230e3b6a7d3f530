"""The highest rung of the proof ladder, in one command: the product on this machine's own NVIDIA GPUs.

`pack` writes what a GPU machine without Go and registries needs; `run` brings a cluster up there, deploys the product,
proves what it claims, writes what was seen as evidence files, and takes everything down. GPU settings are only read.
"""
