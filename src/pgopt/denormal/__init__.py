"""Columns that triggers keep equal to what another table says."""
