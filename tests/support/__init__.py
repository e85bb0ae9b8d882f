"""Servers, builders and waiting that tests share. Imported as `tests.support.…`."""
