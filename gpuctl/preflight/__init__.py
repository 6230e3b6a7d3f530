"""What is asked of a live cluster before anything is declared in it."""
