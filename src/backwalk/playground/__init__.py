"""The playground: a page on which a network learns noise's way back in the browser. `static/` holds all of it."""

from backwalk.playground.answers import answers_of
from backwalk.playground.page import page_of, write_page

__all__ = ["answers_of", "page_of", "write_page"]
