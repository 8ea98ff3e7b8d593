"""The example workflows: described in `examples`, built and exported by the real front end, read back as prompts."""
