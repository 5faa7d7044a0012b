"""A procedural, captioned picture world: ground truth for everything taught here."""
