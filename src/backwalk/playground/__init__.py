"""The playground: a page on which a network learns noise's way back in the browser. `static/` holds all of it."""
