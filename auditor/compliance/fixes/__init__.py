"""What a tool can put right by itself: the notice file, the card's metadata, stubs for statements."""
