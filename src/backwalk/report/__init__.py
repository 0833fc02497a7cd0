"""Numbers in, pages and pictures out, for readers.

`chain_frames` walks the chain for the page, `render_report` and `write_report` make the page, and `figures` holds one
function a picture, for notebooks too.
"""

from backwalk.report.frames import ChainFrames, chain_frames
from backwalk.report.page import render_report, report_record, write_report

__all__ = ["ChainFrames", "chain_frames", "render_report", "report_record", "write_report"]
