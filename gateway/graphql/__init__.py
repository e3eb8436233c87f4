"""GraphQL over the same contracts: types, fields and arguments are made from the protos; only what joins them is written here."""
