"""What may be spent: held before a send, charged after it, all or nothing."""
