"""Weights of other programs, read without running code, as files of ours."""
