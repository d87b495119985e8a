"""What a run has learned: gathered from its folder, and written as one page."""
