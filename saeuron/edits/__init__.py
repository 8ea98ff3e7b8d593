"""What is done to a UNet's activations while it draws."""
