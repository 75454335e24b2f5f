"""One module per wire dialect: pure readers, and their HTTP edges."""
