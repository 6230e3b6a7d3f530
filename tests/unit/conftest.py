"""Property tests are repeatable, and no slow machine makes one fail."""

import hypothesis

hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.load_profile("repeatable")
