"""What the project costs: `make bench`. Each benchmark prints figures of this machine; none judges them.

A module per benchmark, with a function `run` that prints. Figures that are compared with each other come from one run,
in turns.
"""
