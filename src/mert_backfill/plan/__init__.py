"""What is pending, and in which chunks it will be done."""
