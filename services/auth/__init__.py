"""Accounts and tokens: proves who a caller is and publishes the keys that everybody else verifies tokens with."""
