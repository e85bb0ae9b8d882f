"""Intake of messages: the consumer, the window that limits it to the free slots, and the watchdog."""
