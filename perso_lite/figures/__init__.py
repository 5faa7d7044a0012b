"""Pictures about pictures, and charts; they draw what they are given."""
