"""The loop that makes rows and broker agree again. Rows and broker only, so it runs where no Docker is.

Every worker and API process runs it; each repair is a compare-and-set in a verb, so that ten of them at once
do no more than one. A pass finds a difference and calls a verb; it mends nothing itself.
"""
