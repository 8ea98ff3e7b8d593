"""Long forms of the tests that take a while; `python -m tools.soak` writes what they found to docs/reliability.md."""
