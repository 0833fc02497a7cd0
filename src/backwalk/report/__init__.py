"""Reports as HTML pages, and figures.

`chain_frames` walks the chain for the page, `render_report` and `write_report` make the page, and `figures` holds one
function per figure, for notebooks too.
"""

from backwalk.report.frames import ChainFrames, chain_frames
from backwalk.report.page import render_report, report_record, write_report

__all__ = ["ChainFrames", "chain_frames", "render_report", "report_record", "write_report"]
