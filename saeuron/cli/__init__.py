"""What ``python -m saeuron`` can do, a module for each group of commands."""
