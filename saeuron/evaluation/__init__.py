"""Measuring what an intervention removes and what it costs."""
