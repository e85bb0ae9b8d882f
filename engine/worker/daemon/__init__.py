"""This host's Docker daemon: the sweep of leftovers and the pool of sandboxes."""
