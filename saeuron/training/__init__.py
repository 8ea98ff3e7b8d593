"""Training SAEs on activations."""
