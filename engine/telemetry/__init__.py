"""Output of a process about itself: its log lines."""
