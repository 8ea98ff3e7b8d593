"""The miniature: a small SDXL-shaped text-to-image model that is shipped with the pack (see CARD.md)."""
