// Entries accepted less entries taken, counted beside the FIFO.
reg [5:0] p_count = 0;
always @(posedge clock)
    p_count <= reset ? 6'd0 : p_count + (write & ~full) - (read & ~empty);
always @(*) begin
    assert (p_count <= 31);
    assert (level == p_count[4:0]);
    assert (empty == (p_count == 0));
    assert (full == (p_count == 31));
end
