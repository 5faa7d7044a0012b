"""What `python -m perso_lite` can do, one module per command."""
