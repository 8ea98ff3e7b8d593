"""What is in each example workflow."""
