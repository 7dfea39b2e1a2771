// Trackers in use, and how many. The user allocates only when not full and frees only what is out.
reg [15:0] p_out = 0;
reg [4:0] p_count = 0;
wire [31:0] p_run = ((32'd1 << p_count) - 1) << tail$q;
always @(posedge clock)
    if (reset) begin
        p_out <= 0;
        p_count <= 0;
    end else begin
        p_out <= (p_out | allocate_hot) & ~done_hot;
        p_count <= p_count + allocate - done;
    end
always @(*) begin
    assume (!(allocate && full));
    assume (!(done && p_count == 0));
    assert (p_count <= 16);
    assert (full == (p_count == 16));
    assert (((head$q - tail$q) & 4'hf) == p_count[3:0]);
    assert (p_out == (p_run[15:0] | p_run[31:16]));
    assert ((allocate_hot & p_out) == 0);
    assert ((done_hot & ~p_out) == 0);
end
