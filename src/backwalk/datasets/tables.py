"""A real table that comes with the package: the penguins of the Palmer Archipelago.

Its rows are those of A. M. Horst, A. P. Hill and K. B. Gorman 2020, *palmerpenguins*, doi:10.5281/zenodo.3960218, as
measured by K. B. Gorman, T. D. Williams and W. R. Fraser 2014. They are in the public domain (CC0 1.0). In the file
`penguins.csv` beside this module a missing value is an empty cell.
"""

from __future__ import annotations

from importlib.resources import files

import pyarrow as pa
from pyarrow import csv


def penguins() -> pa.Table:
    """Return measurements of 344 penguins of three species on three islands.

    The columns are `species`, `island`, `bill_length_mm`, `bill_depth_mm`, `flipper_length_mm`, `body_mass_g` (in
    grams), `sex` and `year` (2007 to 2009). Two penguins were not measured, and the sex of 11 is missing.

    Returns
    -------
    pyarrow.Table
        The rows. `penguins().to_pandas()` is a DataFrame.

    See Also
    --------
    two_moons : Points whose density is known.

    Notes
    -----
    Source: Gorman, Williams & Fraser 2014, *Ecological sexual dimorphism and environmental variability within a
    community of Antarctic penguins (genus Pygoscelis)*, PLoS ONE 9(3): e90081; in the form of Horst, Hill & Gorman
    2020, *palmerpenguins*. Public domain (CC0 1.0).

    Examples
    --------
    >>> from backwalk.datasets import penguins
    >>> table = penguins()
    >>> table.shape, table["sex"].null_count
    ((344, 8), 11)
    >>> sorted(table["species"].unique().to_pylist())
    ['Adelie', 'Chinstrap', 'Gentoo']
    """
    with files("backwalk.datasets").joinpath("penguins.csv").open("rb") as file:
        return csv.read_csv(file, convert_options=csv.ConvertOptions(strings_can_be_null=True))
