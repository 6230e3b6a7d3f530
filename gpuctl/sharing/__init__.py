"""The coexistence proof: pods that take every free slice at once, and what was seen of them."""
