"""What a repository says of itself: card, configs, headers, names and prose, each claim with its place."""
