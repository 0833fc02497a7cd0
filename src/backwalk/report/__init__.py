"""What a page is made of: style, axes, blocks, text of numbers, and the sections that describe a model.

`page.render_page` turns sections into one HTML file. The questions in `backwalk.assess` make the other sections.
"""
