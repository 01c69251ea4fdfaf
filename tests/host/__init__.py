"""A second host: customers with UUID and with text keys, an owner behind a relation, no flag of their own."""
