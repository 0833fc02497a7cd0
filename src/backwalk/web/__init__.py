"""The page of `backwalk web`: a small local server, and a client in `static/`.

The client computes nothing: every number comes from the library. `app.py` has the routes, `security.py` decides which
requests are answered, `sessions.py` holds what a browser tab has made, `state.py` the library once it has loaded, and
`jobs.py` trains. All but the last import no torch, so that the page and the shipped model's chain (`start/`) are served
at once. The others load with the first request that needs them: `requests.py` checks what a request asks for,
`operations.py` answers it, `tables.py` makes tables, `settings.py` makes estimators, `pictures.py`, `planes.py` and
`scores.py` make the numbers of pictures, `rows.py` draws, `packing.py` packs, `code.py` writes code, and `export.py`
makes a page of one file.
"""
