"""PostgreSQL: the only truth. The caller owns the transaction, a function here owns one statement."""
