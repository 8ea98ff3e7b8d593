"""Layouts in which others publish SAEs, a module each: `read(config, file) -> SAEWeights`, and `write` where we can."""
