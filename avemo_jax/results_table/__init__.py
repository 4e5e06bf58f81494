"""The original's results table, made anew: its rows, their cells, and the files."""
