// Who asks sees that the tracker is free; what has not ended is not settled; the snoop queue takes what is unsent.
reg p_owed = 0;
reg p_known = 0;
reg [1:0] p_ticks = 0;
always @(posedge clock) begin
    p_known <= p_known | reset;
    // An answer is owed after a snoop that left and ended without one, until it comes or the link starts anew.
    p_owed <= ~reset & ~link_down & (settled ? ~got$q & ~unsent_r$q & ~answer : p_owed & ~answer);
    if (start | reset) p_ticks <= 0;
    else if (tick & waiting_r$q & (p_ticks != 3)) p_ticks <= p_ticks + 1;
end
always @(*) begin
    assume (p_known || reset);
    assume (!start || !(waiting || overdue));
    assume (!start || !link_down);
    assume (!settled || ended);
    assume (!sent || unsent);
    if (p_known) begin
        assert (overdue_r$q == p_owed);
        assert (!(waiting_r$q && overdue_r$q));
        assert (!unsent_r$q || waiting_r$q);
        assert (!(waiting_r$q && got$q && unsent_r$q));
        assert (!ended || waiting);
        // Bounded response: after the second tick it has ended, whatever the host does.
        assert (!waiting_r$q || p_ticks < 2 || failed$q);
        assert (!waiting_r$q || failed$q || age$q == p_ticks);
        assert (!(waiting && failed$q) || ended);
    end
end
