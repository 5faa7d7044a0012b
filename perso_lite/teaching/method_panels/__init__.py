"""Panels of one method each; `panels` has them all by name."""
