// The bit is set by an allocation and cleared by its end, and by nothing else.
reg p_waiting = 0;
always @(posedge clock) p_waiting <= ~reset & ~done & (allocate | p_waiting);
always @(*) assert (waiting_memory$q == p_waiting);
