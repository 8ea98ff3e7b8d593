"""Which features belong to a concept: statistics, selection, and the sets they end in."""
