"""Pure: one frozen struct per kind of event."""
