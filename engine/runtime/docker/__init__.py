"""Docker: the one room that speaks to a daemon. Each file owns one kind of call.

client (connection), stream (answers read as they come), images, options (an order as Docker's words), container
(look, create, start, kill), ending (wait and what an end means), logs, files, volumes, labels; runtime.py ties
them together. The rules that each call keeps are numbered in docs/lifecycle.rst.
"""
