"""Dashboard: pages for people, rendered from rows and read-only; a browser without scripts can use them.

`pages` has the views, `overview` and `detail` read what a page shows, `badges` and `log_rows` turn states and
log frames into what a template prints, `formats` writes times, ids and foreign texts.
The scripts (static/) listen to the API's own streams, and fetch parts of these pages again.
"""
