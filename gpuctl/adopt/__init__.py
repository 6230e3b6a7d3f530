"""From what a cluster shares its GPUs with now to a stack: who keeps what, what is taken over, and what must go."""
