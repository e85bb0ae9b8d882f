"""What a process tells of itself: its log lines, and the failpoints at which a test lets it die."""
