"""The files that are written from the code: what a stack file may say, and what each check means."""
