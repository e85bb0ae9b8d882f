"""The Docker daemon of this host: the sweep of leftovers and the pool of sandboxes."""
