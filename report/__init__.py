"""The report of a run, or of several next to each other: one HTML file that opens from disk."""

from report.page import write_report

__all__ = ["write_report"]
