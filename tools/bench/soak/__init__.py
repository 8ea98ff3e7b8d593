"""Long forms of the tests that take a while; their findings go to docs/reliability.md."""
