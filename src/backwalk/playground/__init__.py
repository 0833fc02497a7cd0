"""The playground: one page on which a network learns to turn noise into data, in the browser and without a server.

`static/` holds the page: its mathematics in JavaScript (`static/maths`, compared with the library by the tests), which
runs in a worker, and its panels. Python only joins them into one file, and stores the answers of a model of its own.
"""

from backwalk.playground.answers import answers_of
from backwalk.playground.page import page_of
from backwalk.playground.show import Page, in_notebook

__all__ = ["Page", "answers_of", "in_notebook", "page_of"]
