"""The first stack file of a cluster: what its nodes say of themselves, what only a person can say, and the text.

Pure functions. Nothing that is not known is made up: it is a question, or a comment in the file.
"""
