"""Reconciler: finds where rows and broker differ. Reads only rows and broker, so it runs where no Docker is.

Every worker and API process runs it; each repair is a compare-and-set in a verb, so that ten reconcilers at once do
no more than one. A pass finds a difference and calls a verb; it repairs nothing itself.
"""
