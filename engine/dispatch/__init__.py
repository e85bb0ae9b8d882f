"""The broker: builds and sends messages of ids. It carries no spec and no secret, and does not decide when."""
