"""The configuration: its fields, their checks, and what tells two runs apart."""
