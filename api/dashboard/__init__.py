"""The dashboard: pages for people, made here from rows and read-only; a browser without scripts can use them.

`pages` answers, `shown` makes rows into what a template prints, `formats` writes times, ids and foreign texts.
Scripts of ours (static/) listen to the API's own streams and fetch parts of these pages again.
"""
