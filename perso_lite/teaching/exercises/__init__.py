"""Checks and solutions of the later notebooks; `check` and `solutions` gather them."""
