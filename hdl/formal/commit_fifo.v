// Entries written and entries visible, counted beside the FIFO. The writer has a credit for each entry: it never writes to a full one.
localparam P_SIZE = 1 << ($bits(level) - 1);
reg [7:0] p_all = 0, p_visible = 0;
wire [7:0] p_written = p_all + write;
wire [7:0] p_taken = read & (p_visible != 0);
always @(posedge clock)
    if (reset) begin
        p_all <= 0;
        p_visible <= 0;
    end else begin
        // What is taken back with an abort was never visible; a commit in the same cycle stands.
        p_all <= (abort ? p_visible : p_written) - p_taken;
        p_visible <= (commit ? p_written : p_visible) - p_taken;
    end
always @(*) begin
    assume (!(write && p_all == P_SIZE));
    assume (!(commit && abort));
    assert (!overflow);
    assert (p_visible <= p_all && p_all <= P_SIZE);
    assert (used == p_all);
    assert (level == p_visible);
    assert (empty == (p_visible == 0));
end
