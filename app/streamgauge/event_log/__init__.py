"""Reading the event log: which hours are worth looking into, which entries may hold what is wanted, and the events in them."""
