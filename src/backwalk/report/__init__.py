"""Reports as HTML pages, and figures.

`render_report` and `write_report` make the page, and `figures` holds one function per figure, for notebooks too.
"""

from backwalk.report.page import render_report, report_record, write_report

__all__ = ["render_report", "report_record", "write_report"]
