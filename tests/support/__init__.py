"""What tests stand on: servers, builders, waiting. Imported as `tests.support.…`."""
