// The transmitter starts a new flit only with room; acknowledgements may be anything.
reg p_was_aborted = 0;
always @(posedge clock) p_was_aborted <= aborted & ~reset;
always @(*) begin
    assume (!begins || room_ack);
    assert (!p_was_aborted || aborted);
    assert (dropping == (machine$q != 0));
    assert (machine$q <= 4);
    assert (aborted || unacked$q <= 63);
    assert (aborted || (free >= 1 && free <= 64));
    assert (aborted || guarded$q <= unacked$q);
    assert (!room2$q || unacked$q < 63);
    assert (frames$q <= 5);
    assert (!(choose_control && choose_replay));
    assert (!silent || !(choose_control || choose_replay));
    assert (!aborted || silent);
end
