"""Predictions -> the official text files of the ABAW challenge, and their check."""
