"""Measurements of one method: its parts, and the methods it is compared with."""
