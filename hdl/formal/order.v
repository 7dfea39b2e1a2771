// The directory is never read in the cycle that writes it; nobody is served in the first cycle; at most one is told something; nothing is
// told to a line's second user. The directory's memory is free.
reg p_known = 0;
always @(posedge clock) p_known <= p_known | reset;
wire [2:0] p_served = local_serve | local_fail | local_snooped;
always @(*) begin
    assume (p_known || reset);
    if (p_known) begin
        assert (!(directory$look && directory$write));
        assert (!(req_go && (req_matched || rwd_matched || local_matched || snoops$matched)));
        assert (!(req_go && req_second) && !(req_go && rwd_done) && !(req_second && rwd_done));
        assert (!((req_go || req_second || rwd_done) && p_served != 0));
        assert ((p_served & (p_served - 3'd1)) == 0);
        assert (!(snoops$start && (req_matched || rwd_matched || local_matched || held_matched$q || snoops$matched)));
        assert (!(snoops$start && link_down));
        // A Req that waits goes before the next snoop of its line.
        assert (!(snoops$start && stalled_matched$q && asker$q != 4));
        assert (!(rwd_done && local_matched));
        assert (!evict_out$q || evicting$q);
    end
end
