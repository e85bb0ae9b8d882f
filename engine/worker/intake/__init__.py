"""How messages come in: the consumer with its window of free slots, and the watchdog of a deaf consumer."""
