"""The report of a run, or a comparison of several runs: one self-contained HTML file."""

from report.page import refresh_report, write_report

__all__ = ["refresh_report", "write_report"]
