"""Other people's methods, written from the formulas of their papers, for the comparison."""
