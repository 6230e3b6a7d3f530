"""A real Kubernetes on this machine, with simulated NVIDIA GPUs; `python -m testbed --help` starts it.

It proves the product from outside, so it imports nothing of it.
"""
