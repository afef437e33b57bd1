"""Numbers about latent vectors and rankings."""
