"""What pyproject.toml cannot say: a package index gets absolute links, and equal sources are equal archives."""

import gzip
import os
import re
import tarfile
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent
_FILE = r"(?!https?://|#|mailto:)([^)\s\"]+)"  # the target of a link that is a file of the repository


def absolute_links(markdown: str, home: str, version: str) -> str:
    """Return Markdown whose links to files lead to those of the version's tag at the repository `home`.

    >>> absolute_links("[Files](docs/files.md) ![A](a.png)", "https://backwalk.example", "1.0")
    '[Files](https://backwalk.example/blob/v1.0/docs/files.md) ![A](https://backwalk.example/raw/v1.0/a.png)'
    """
    page, picture = f"{home}/blob/v{version}/", f"{home}/raw/v{version}/"
    markdown = re.sub(rf"(!\[[^]]*\]\(){_FILE}", rf"\g<1>{picture}\2", markdown)
    markdown = re.sub(rf"(<img [^>]*src=\"){_FILE}", rf"\g<1>{picture}\2", markdown)
    return re.sub(rf"((?<!!)\[[^]]*\]\(){_FILE}", rf"\g<1>{page}\2", markdown)


class ReproducibleSdist(sdist):
    """The source archive with files in order, of one date and without owners: that of SOURCE_DATE_EPOCH, or 1980."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):  # noqa: ARG002
        """Write BASE_NAME.tar.gz of the folder `base_dir`, and return its path."""
        date = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))

        def plain(member):
            mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member.replace(mtime=date, mode=mode, uid=0, gid=0, uname="", gname="", deep=False)

        path = f"{base_name}.tar.gz"
        with (
            Path(path).open("wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=date) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(base_dir, filter=plain)  # which goes through folders in the order of names
        return path


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = (ROOT / "src" / "backwalk" / "__init__.py").read_text(encoding="utf-8")
    setup(
        long_description=absolute_links(
            (ROOT / "README.md").read_text(encoding="utf-8"),
            project["urls"]["Source"],
            re.search(r'__version__ = "(.+)"', source)[1],
        ),
        long_description_content_type="text/markdown",
        cmdclass={"sdist": ReproducibleSdist},
    )
