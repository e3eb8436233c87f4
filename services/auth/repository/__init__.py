"""All SQL of the auth service, a module for each kind of thing it keeps. Times are the database's clock."""
