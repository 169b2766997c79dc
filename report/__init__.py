"""The report of a run, or a comparison of several runs: one self-contained HTML file."""

from report.page import write_report

__all__ = ["write_report"]
