"""`make demo`: the product at work on a cluster of this machine, every figure read from that cluster.

It tells the story; the test bed starts the cluster and the product does the rest.
"""
