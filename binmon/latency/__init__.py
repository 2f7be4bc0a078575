"""Small orders of our own, each timed to its execution report, and what is made of the times."""
