// Who is told something had asked, and a snoop's end comes to who waits for it: then no queue and no pool overflows, and what was granted stays
// compared with every request until its last beat is through.
reg p_known = 0;
reg p_read = 0;
reg p_write = 0;
wire p_read_now = p_read | ask[0];
wire p_write_now = p_write | ask[1];
always @(posedge clock) begin
    p_known <= p_known | reset;
    p_read <= ~reset & p_read_now & ~(serve[0] | fail[0]);
    p_write <= ~reset & p_write_now & ~(serve[1] | fail[1]);
end
always @(*) begin
    assume (p_known || reset);
    assume (!(serve[0] | fail[0] | snooped[0]) || p_read_now);
    assume (!(serve[1] | fail[1] | snooped[1]) || p_write_now);
    if (p_known) begin
        assert (!p_read || (!wanted$empty && !reading$full && !granted$full));
        assert (!p_write || (!lines$empty && !writing$full && !verdicts$full));
        assert (!(reading$allocate && reading$full));
        assert (!(writing$allocate && writing$full));
        assert (!(granted$write && granted$full));
        assert (!(verdicts$write && verdicts$full));
        assert (!read_waits$q || p_read);
        assert (!write_waits$q || p_write);
    end
end
