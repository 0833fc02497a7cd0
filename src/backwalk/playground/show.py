"""The page in a browser, or within a notebook."""

from __future__ import annotations

import html
import sys
import tempfile
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backwalk.errors import InvalidInput
from backwalk.files import atomic_write
from backwalk.playground.page import page_of

_HEIGHT = 820  # pixels, of the page within a notebook


class Page:
    """The playground's page as one HTML file; a notebook shows it inline.

    Parameters
    ----------
    stored : mapping, optional
        The answers of a model from Python, as `answers_of` returns them.
    title : str, optional
        The page's title.

    See Also
    --------
    backwalk.Diffusion.show : The page of a fitted model.

    Examples
    --------
    >>> from backwalk.playground import Page
    >>> len(Page().html) < 1_000_000
    True
    """

    def __init__(self, stored: Mapping[str, Any] | None = None, title: str | None = None) -> None:
        self._stored, self._title = stored, title

    @property
    def html(self) -> str:
        """The page."""
        return page_of(self._stored, self._title)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the page to a file.

        Parameters
        ----------
        path : str or path
            The file, whose name ends in .html.
        overwrite : bool, default=False
            Whether a file that exists may be replaced.

        Raises
        ------
        InvalidInput
            For another ending, for a file that exists, and for one that cannot be written.
        """
        if Path(path).suffix.lower() not in (".html", ".htm"):
            raise InvalidInput(f"The page's name should end in .html, but got {str(path)!r}: name another.")
        if Path(path).exists() and not overwrite:
            raise InvalidInput(f"{path} exists already: name another file, or overwrite it with --force.")
        try:
            with atomic_write(path, overwrite=overwrite) as file:
                file.write(self.html.encode())
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error

    def open(self) -> Path:
        """Write the page to a new temporary file, open it in the browser, and return its path.

        Returns
        -------
        pathlib.Path
            The file, which stays where it is.
        """
        path = Path(tempfile.mkdtemp(prefix="backwalk-")) / "playground.html"
        self.save(path)
        webbrowser.open(path.as_uri())
        return path

    def _repr_html_(self) -> str:
        """Return a frame with the page, for notebooks."""
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" title="backwalk playground" width="100%" '
            f'height="{_HEIGHT}" style="border: 0"></iframe>'
        )


def in_notebook() -> bool:
    """Return whether a notebook's kernel runs this program."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")
