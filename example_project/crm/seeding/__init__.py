"""Believable customers and managers for trying the app out. The command `seed` calls it."""
