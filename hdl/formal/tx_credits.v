// A message is sent only with a credit for it; what the host gives is counted, up to the register's end; what is owed to the host and what
// it holds make the whole. A request, write or answer comes only with a credit.
reg p_known = 0;
reg [9:0] p_ndr = 0;
reg [9:0] p_drs = 0;
reg [5:0] p_req = 0;
reg [5:0] p_rwd = 0;
wire [9:0] p_ndr_sum = p_ndr + ndr_credit - ndrs$take;
wire [9:0] p_drs_sum = p_drs + drs_credit - drss$read;
always @(posedge clock) begin
    p_known <= p_known | reset;
    p_ndr <= reset ? 0 : p_ndr_sum[9] ? 511 : p_ndr_sum;
    p_drs <= reset ? 0 : p_drs_sum[9] ? 511 : p_drs_sum;
    p_req <= reset ? 0 : p_req + (credits_sent ? req_amount : 0) - req_popped;
    p_rwd <= reset ? 0 : p_rwd + (credits_sent ? rwd_amount : 0) - rwd_popped;
end
always @(*) begin
    assume (p_known || reset);
    assume (!req_popped || p_req != 0);
    assume (!rwd_popped || p_rwd != 0);
    if (p_known) begin
        assert (ndr_credits$q == p_ndr && p_ndr < 512);
        assert (drs_credits$q == p_drs && p_drs < 512);
        assert (ndrs$take <= ndr_credits$q);
        assert (!drss$read || drs_credits$q != 0);
        assert (!snoop_pop || snoop_credits$q != 0);
        // That there is a credit is known a cycle late, which is in time for the next flit.
        assert (!(snoop_may$q && snoop_credits$q == 0) || index$q == 1 || !sent$q);
        assert (p_req <= req_credits && p_rwd <= rwd_credits);
        assert (p_req + req_owed$q == req_credits);
        assert (p_rwd + rwd_owed$q == rwd_credits);
    end
end
