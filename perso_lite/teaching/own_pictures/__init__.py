"""For notebook 10: photos, masks, memory, and files that other programs read."""
