"""Reports as HTML pages, model cards, and figures.

`render_report` and `write_report` make the page, `render_hub_card` and `write_hub_card` a README for the Hugging Face
hub, and `figures` holds one function per figure, for notebooks too.
"""

from backwalk.report.hub_card import render_hub_card, write_hub_card
from backwalk.report.page import render_report, report_record, write_report

__all__ = ["render_hub_card", "render_report", "report_record", "write_hub_card", "write_report"]
