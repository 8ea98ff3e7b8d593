"""`make pictures`: the pictures of README and help pages, and the pack's icon and banner."""
