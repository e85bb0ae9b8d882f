"""What a process tells of itself: its log lines, and the crash points at which a test lets it die."""
