"""What is built from the rooms below: whole workflows, each a function that returns its results as data."""
