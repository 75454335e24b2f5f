"""Imports: a file of customers, line by line through the same rules as live traffic, in large batches."""
