"""Where words look in a picture: record, read and change cross-attention."""
