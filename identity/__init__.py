"""Who is this: events in, visitors linked to customers."""
