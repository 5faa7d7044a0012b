"""Figures: contact sheets, heat maps over pictures, and charts of given values."""
