"""How everything reaches a reader: text from a stack file, a cluster or git is data until a form here made it safe."""
