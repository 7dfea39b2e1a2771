// The tree is one slot of the flit's CRC; four of them, from zero, must equal the shift register over all 512 bits. That is linear in the
// slot, so one slot suffices: going from the last slot's weight, x^400, an LFSR that divides by x takes the bits in order.
integer p_i;
reg [15:0] p_unit, p_lfsr;
always @(*) begin
    p_unit = 16'h1;
    for (p_i = 0; p_i < 527; p_i = p_i + 1)
        p_unit = {p_unit[14:0], 1'b0} ^ (p_unit[15] ? 16'hF053 : 16'h0);
    p_lfsr = acc;
    for (p_i = 0; p_i < 128; p_i = p_i + 1)
        p_lfsr = ((p_lfsr[0] ? p_lfsr ^ 16'hF053 : p_lfsr) >> 1 ^ (p_lfsr[0] ? 16'h8000 : 16'h0)) ^ (slot[p_i] ? p_unit : 16'h0);
end
// Bit by bit: an exclusive-or is small as a decision diagram, sixteen at once are not.
genvar p_bit;
generate for (p_bit = 0; p_bit < 16; p_bit = p_bit + 1)
    always @(*) assert (crc[p_bit] == p_lfsr[p_bit]);
endgenerate
