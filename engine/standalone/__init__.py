"""The whole of Ferryman on one host: broker, API and workers as children of one process that minds them.

May start and stop processes, hold the data directory's lock and the listening socket. May not decide
anything about a task: what survives a stop is settled by rows and labels, not here.
"""
