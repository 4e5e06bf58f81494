"""Weights of other programs, read without running code, into files of this one."""
