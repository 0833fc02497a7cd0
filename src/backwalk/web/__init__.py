"""The page of `backwalk web`: a small local server, and a client in `static/` that computes nothing.

A request goes through `security.py` to a route in `app.py`, which calls one method of `answers.py`. That checks the
body (`requests.py`), finds the tab's tables, models and fits (`workspaces.py`: `tables.py`, `models.py`, `fits.py`),
and computes: `pictures.py` the chain and a particle, `fields.py` what is learned beside what is exact, both in the
`plane.py` of two columns; `rows.py` rows; `code.py` the same rows as code. `serve.py` starts it all.

The page and its first picture need no torch: `shipped.py` has them as files, which `ship.py` makes. `export.py` writes
the page as one file.
"""
