"""Who calls: tokens of users, which everyone can verify, and tokens between services."""
