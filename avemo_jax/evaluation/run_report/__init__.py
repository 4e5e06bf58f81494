"""The report of an evaluation: report.html, which people read in a browser."""
