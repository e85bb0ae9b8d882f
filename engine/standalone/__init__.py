"""The whole of Ferryman on one host: broker, API and workers as children of one supervisor process.

May start and stop processes, lock the data directory and hold the listening socket. May not decide anything about
a task: what happens to tasks after a stop follows from rows and container labels.
"""
