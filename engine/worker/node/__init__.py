"""The node: its row, its beat and passes, adoption, draining and shutdown."""
