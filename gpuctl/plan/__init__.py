"""What a change of the stack files does to the GPUs, before anything is deployed."""
