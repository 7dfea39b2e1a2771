// Completions and acks leave in the order of the writes: one that found the queue taken is still the next to go.
reg p_known = 0;
reg p_due = 0;
always @(posedge clock) begin
    p_known <= p_known | reset;
    p_due <= ~reset & (finish | p_due) & ~ndr_write;
end
always @(*) begin
    assume (p_known || reset);
    if (p_known) begin
        assert (!(finish && held$q));
        assert (held$q == p_due);
        assert (!ndr_write || finish || held$q);
        assert (!held$q || completion == held_cmp$q);
    end
end
