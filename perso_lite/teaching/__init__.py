"""What notebooks need: set-up, panels, checkers of exercises, solutions."""
