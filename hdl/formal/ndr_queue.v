// Completions written less completions taken. The writers reserve, the packer takes only what is there.
reg [6:0] p_count = 0;
always @(posedge clock)
    p_count <= reset ? 7'd0 : p_count + write - take;
always @(*) begin
    assume (!(write && p_count == 32));
    assume (take <= 2 && take <= p_count);
    assert (p_count <= 32);
    assert (count == p_count);
    assert ((wr$q - rd$q & 6'h3f) == count);
end
