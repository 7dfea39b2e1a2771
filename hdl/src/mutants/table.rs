//! The table of mutants. A row: name, module of the emitted Verilog, what is wrong; the place (text before it, right text => wrong text); its fate.

use super::{Check, Fate, Mutant};

/// Killed by the test of that name in `sim/tests/<file>`.
const fn by(file: &'static str, test: &'static str) -> Fate {
    Fate::Killed(Check::Test(file, test))
}

/// Killed by a formal proof.
const fn proof(name: &'static str) -> Fate {
    Fate::Killed(Check::Proof(name))
}

/// Cannot be told from the right text.
const fn survives(why: &'static str) -> Fate {
    Fate::Survives(why)
}

macro_rules! mutants {
    ($($name:literal in $module:literal: $what:literal; $before:literal $right:literal => $wrong:literal; $fate:expr;)*) => {
        &[$(Mutant {
            name: $name,
            module: $module,
            what: $what,
            before: $before,
            right: $right,
            wrong: $wrong,
            fate: $fate,
        }),*]
    };
}

/// Every mutant; its place in this list is its number on the switch, counted from 1.
pub static MUTANTS: &[Mutant] = mutants! {
    // Rules of HDM-H (coherence/rules.rs)
    "rule-read-stores-meta" in "top$reads$rule": "MemRd without metadata replaces it";
        "9'h31: " "{store_meta, data, silent, legal} = 4'h5;" => "{store_meta, data, silent, legal} = 4'hd;";
        by("link", "meta0_is_stored_and_the_old_value_returned");
    "rule-inv-refused" in "top$reads$rule": "MemInv with Meta0 is illegal";
        "9'h0: " "{store_meta, data, silent, legal} = 4'h9;" => "{store_meta, data, silent, legal} = 4'h8;";
        by("link", "random_mixes_in_every_configuration");
    "rule-prefetch-answered" in "top$reads$rule": "MemSpecRd is answered";
        "9'h38: " "{store_meta, data, silent, legal} = 4'h3;" => "{store_meta, data, silent, legal} = 4'h5;";
        by("link", "random_mixes_in_every_configuration");
    "rule-read-reserved-meta" in "top$reads$rule": "MemRd with a reserved MetaField is legal";
        "9'h21: " "{store_meta, data, silent, legal} = 4'h4;" => "{store_meta, data, silent, legal} = 4'h5;";
        by("offences", "a_request_outside_the_table_is_refused_and_logged");
    "rule-write-drops-meta" in "top$writes$rule": "MemWr with Meta0 does not store it";
        "10'h1: " "{store_meta, legal} = 2'h3;" => "{store_meta, legal} = 2'h1;";
        by("link", "meta0_is_stored_and_the_old_value_returned");
    "rule-write-with-enables" in "top$writes$rule": "MemWr with byte enables is legal";
        "default: " "{store_meta, legal} = 2'h0;" => "{store_meta, legal} = {1'b0, opcode == 4'h1};";
        by("offences", "a_request_outside_the_table_is_refused_and_logged");
    "rule-partial-refused" in "top$writes$rule": "MemWrPtl without metadata is illegal";
        "10'h232: " "{store_meta, legal} = 2'h1;" => "{store_meta, legal} = 2'h0;";
        by("link", "random_mixes_in_every_configuration");

    // Address decode (coherence/hdm.rs)
    "hdm-beyond-capacity" in "top$hdm": "lines beyond the capacity alias lines within";
        "hit = (in0 | in1) & " "(beyond == 32'h0)" => "1'b1";
        by("link", "addresses_that_nothing_decodes");
    "hdm-switched-off" in "top$hdm": "decoder 0 works with the decoders switched off";
        "in0 = " "enable & committed0" => "committed0";
        by("offences", "a_decoder_that_is_off_decodes_nothing");
    "hdm-second-offset" in "top$hdm": "decoder 1 uses the offset of decoder 0";
        "" "dpa = high + delta1$q;" => "dpa = high + delta0$q;";
        survives("decoder 1 begins after decoder 0's first granule, which is as large as the largest memory: with either offset it reaches none");
    "hdm-limit-included" in "top$hdm": "decoder 0 takes the granule after its last";
        "" "(high < limit0)" => "(high <= limit0)";
        survives("a granule is as large as the largest memory: the one after the last has a device address beyond every capacity, which misses all the same");

    // Trackers (coherence/tracker.rs)
    "tracker-stays" in "top$reads$pool$trackers$0": "a tracker is not freed by its completion";
        "if " "(done)" => "(1'b0)";
        by("link", "random_mixes_in_every_configuration");
    "pool-never-full" in "top$reads$pool": "the pool never says that it is full";
        "" "full_now$d = head_next == tail$q;" => "full_now$d = 1'b0;";
        proof("tracker-pool");
    "pool-blind" in "top$reads$pool": "a second request to a line under way is not seen";
        "" "seen0$d = matches0;" => "seen0$d = 32'h0;";
        by("offences", "a_second_request_to_a_line_is_refused");

    // Reads
    "reads-one-line-too-many" in "top$reads": "17 lines are let into the transmit buffer of 16";
        "" "lines_full$d = used_next > 32'hf;" => "lines_full$d = used_next > 32'h10;";
        by("offences", "nothing_is_lost_while_no_credit_comes");
    "reads-room-leaks" in "top$reads": "a line that was sent keeps its place";
        "if (" "~(go & stage_data$q) & line_sent" => "1'b0";
        by("link", "random_mixes_in_every_configuration");
    "reads-poison-lost" in "top$reads": "poisoned data leaves as good";
        "if " "(answer_poison$q)" => "(1'b0)";
        by("link", "poison_stays_until_the_whole_line_is_written");
    "reads-miss-not-poisoned" in "top$reads": "the register that poisons data of no memory has no effect";
        "if " "(~left_legal | poison_on_miss)" => "(~left_legal)";
        by("offences", "data_of_no_memory_is_poisoned_if_asked_for");
    "reads-no-room-for-ndr" in "top$reads": "a request goes without room for its NDR";
        "if " "(~ndr_room)" => "(1'b0)";
        by("offences", "nothing_is_lost_while_no_credit_comes");
    "reads-silent-read" in "top$reads": "MemSpecRd reads the memory and is answered";
        "rd_valid = stage_valid$q & room & " "~stage_silent$q" => "1'b1";
        by("link", "random_mixes_in_every_configuration");
    "reads-leaks-data" in "top$reads": "an address that nothing decodes returns what the memory has there";
        "chunk = answer_data$q;\n        if (" "oldest[(64'h16)+:(1)] == 32'h1" => "1'b0";
        by("link", "addresses_that_nothing_decodes");

    // Writes
    "writes-wrong-lane" in "top$writes": "the second chunk is written under the first one's byte enables";
        "" "wr_be = enables$q[(32'h10)+:(16)];" => "wr_be = enables$q[(32'h0)+:(16)];";
        by("link", "random_mixes_in_every_configuration");
    "writes-enables-stay" in "top$writes": "a whole line is written under the enables of the last partial one";
        "" "enables$d = ~((32'h0) & 64'hffffffffffffffff);" => "enables$d = enables$q;";
        by("link", "random_mixes_in_every_configuration");
    "writes-partial-heals" in "top$writes": "a partial write clears poison";
        "wr_poison_we = " "last & ((head[(64'h1f)+:(1)] == 32'h1) | &enables$q)" => "last";
        by("link", "poison_stays_until_the_whole_line_is_written");
    "writes-meta-always" in "top$writes": "a write without metadata replaces it";
        "" "wr_meta_we = last & store_meta$q;" => "wr_meta_we = last;";
        by("link", "meta0_is_stored_and_the_old_value_returned");
    "writes-cmp-lost" in "top$writes": "a Cmp that finds the queue taken is lost";
        "" "held$d = (finish | held$q) & ~ndr_ready;" => "held$d = 1'b0;";
        by("link", "random_mixes_in_every_configuration");
    "writes-illegal-written" in "top$writes": "an illegal write is carried out";
        "" "allowed = start_hit$q & legal;" => "allowed = start_hit$q;";
        by("offences", "a_request_outside_the_table_is_refused_and_logged");

    // Receiver
    "rx-half-crc" in "top$rx": "only the CRC's low byte is compared";
        "" "crc_ok = acc$q == crc_want;" => "crc_ok = acc$q[7:0] == crc_want[7:0];";
        by("offences", "every_bit_of_the_crc_counts");
    "rx-rollover-short" in "top$rx": "the byte-enable chunk is not owed";
        "" "roll_next = roll$q + 32'h5;" => "roll_next = roll$q + 32'h4;";
        by("link", "random_mixes_in_every_configuration");
    "rx-rollover-kept" in "top$rx": "a damaged flit's headers leave their rollover";
        "\n                " "roll$d = roll_good$q;" => "roll$d = roll_next;";
        by("link", "random_damage_under_load_loses_nothing");
    "rx-retry-as-data" in "top$rx": "RETRY.* counts as data while data is owed";
        "now_all_data = (roll$q > 32'h3) & " "~dropping" => "1'b1";
        by("link", "random_damage_under_load_loses_nothing");
    "rx-seq-blind" in "top$rx": "the sequence number is not taken out of the CRC";
        "" "crc_want = s2_crc$q ^ ((flit_number) & 16'hffff);" => "crc_want = s2_crc$q;";
        by("link", "with_seq_lost_repeated_and_swapped_flits_are_recovered");
    "rx-second-init" in "top$rx": "a second INIT.Param is let pass";
        "" "broken = counts & (init_seen$q == is_init$q);" => "broken = counts & ~init_seen$q & ~is_init$q;";
        by("offences", "a_second_init_gives_the_link_up");
    "rx-acks-misread" in "top$rx": "the high part of LLCRD's acknowledgements has the wrong weight";
        "(((slot[(32'h44)+:(4)]) & 8'hff) << " "32'h4" => "32'h3";
        by("offences", "acknowledgements_are_counted_exactly_and_go_first_when_overdue");
    "rx-credits-doubled" in "top$rx": "a response credit counts twice";
        "" "ndr_credit = ndr_power[(32'h1)+:(7)];" => "ndr_credit = ndr_power[(32'h0)+:(7)];";
        by("offences", "nothing_is_sent_without_a_credit");
    "rx-half-flit-kept" in "top$rx": "a request of a flit that a re-initialisation cut stays in the queue";
        "reqs$abort = " "(last & ~accept) | phy_down" => "(last & ~accept)";
        survives("the first flit after a re-initialisation is RETRY.*, which is not accepted and takes the half flit's requests away too");
    "rx-queue-kept" in "top$rx$reqs": "a damaged flit's requests stay in the queue";
        "" "wr$d = committed$q;" => "wr$d = wr_next;";
        proof("req-queue");

    // Transmitter
    "tx-ndr-without-credit" in "top$tx": "NDR is sent without a credit";
        "ndr_one = (ndrs$count != 32'h0) & " "(ndr_credits$q != 32'h0)" => "1'b1";
        by("offences", "nothing_is_sent_without_a_credit");
    "tx-drs-costs-nothing" in "top$tx": "DRS takes no credit";
        "" "drs_credits$d = drs_gain - 32'h1;" => "drs_credits$d = drs_gain;";
        by("offences", "nothing_is_sent_without_a_credit");
    "tx-credit-lost" in "top$tx": "a request that leaves its queue while credits are sent is not given back";
        "" "req_owed$d = req_owed$q - req_amount + 32'h1;" => "req_owed$d = req_owed$q - req_amount;";
        by("link", "random_damage_under_load_loses_nothing");
    "tx-format" in "top$tx": "the third slot is called data when there is none";
        "if " "(roll_now < 32'h3)" => "(roll_now < 32'h2)";
        by("offences", "a_second_request_to_a_line_is_refused");
    "tx-viral-unsaid" in "top$tx": "no flit is spoiled when the device becomes viral";
        "" "spoil_now = spoil$q | (viral & ~was_viral$q);" => "spoil_now = spoil$q;";
        by("link", "a_viral_device_says_so_and_contains_its_data");
    "tx-viral-data" in "top$tx": "a viral device's data is not poisoned";
        "drs_message[(64'h18)+:(1)] = drs_head[(64'h1b)+:(1)];\n        if " "(viral)" => "(1'b0)";
        by("link", "a_viral_device_says_so_and_contains_its_data");
    "tx-acks-twice" in "top$tx": "eight acknowledgements that were sent are sent again";
        "" "acks_left = acks$q - 32'h8;" => "acks_left = acks$q;";
        by("link", "random_mixes_in_every_configuration");
    "tx-acks-not-forced" in "top$tx": "an overdue acknowledgement waits";
        "" "overdue = (acks$q > 32'hf) & up & room_ack;" => "overdue = 1'b0;";
        by("offences", "acknowledgements_are_counted_exactly_and_go_first_when_overdue");
    "tx-tail-unguarded" in "top$tx": "with SEQ, no LLCRD follows a flit that is not acknowledged";
        "(overdue | &owed_timer$q | " "late" => "1'b0";
        by("offences", "what_is_not_acknowledged_is_followed_by_an_llcrd");
    "ndr-second-stale" in "top$tx$ndrs": "the second NDR of a flit is read one place early";
        "" "rd_up = rd$q + 32'h1;" => "rd_up = rd$q;";
        by("link", "random_mixes_in_every_configuration");
    "ndr-reserved-once" in "top": "a read and a write that reserve together count once";
        "" "ndr_next = ndr_more + 32'h2;" => "ndr_next = ndr_more + 32'h1;";
        by("link", "random_mixes_in_every_configuration");

    // Link-level retry
    "retry-number-runs-on" in "top$retry": "the expected number does not wrap at the peer's buffer";
        "if " "(next_expected == peer_entries)" => "(1'b0)";
        by("link", "a_damaged_flit_is_replayed");
    "retry-overfilled" in "top$retry": "a flit is sent without a free entry";
        "" "room2$d = unacked_next < 32'h3f;" => "room2$d = 1'b1;";
        proof("retry");
    "retry-old-answer" in "top$retry": "a RETRY.Ack of an earlier request counts";
        "framed$q & " "(count == num_retry$q)" => "1'b1";
        by("offences", "retry_messages_out_of_place_change_nothing");
    "retry-unframed" in "top$retry": "a RETRY.Req without a RETRY.Frame before it counts";
        "(subtype == 32'h1) & " "framed$q" => "1'b1";
        by("offences", "retry_messages_out_of_place_change_nothing");
    "retry-no-timeout" in "top$retry": "a request that is not answered is not repeated";
        "if " "(next_timer >= timeout)" => "(1'b0)";
        by("link", "random_damage_under_load_loses_nothing");
    "retry-never-spent" in "top$retry": "requests are repeated for ever";
        "" "spent$d = num_retry$q >= max_num_retry;" => "spent$d = 1'b0;";
        by("offences", "a_dead_wire_uses_up_requests_and_re_initialisations");
    "retry-reinit-forever" in "top$retry": "the physical layer is re-initialised for ever";
        "if " "(num_phy_reinit$q >= max_num_phy_reinit)" => "(1'b0)";
        by("offences", "a_dead_wire_uses_up_requests_and_re_initialisations");
    "retry-replays-one-less" in "top$retry": "the last flit is not replayed";
        "" "replaying$d = to_replay;" => "replaying$d = to_replay - 6'h1;";
        by("link", "a_damaged_flit_is_replayed");
    "retry-into-data" in "top$retry": "RETRY.* may come between a header and its all-data flit in a replay";
        "" "all_data_flags$write_data = all_data;" => "all_data_flags$write_data = 1'b0;";
        by("link", "random_damage_under_load_loses_nothing");
    "retry-does-not-drop" in "top$retry": "flits after a damaged one count while the replay is awaited";
        "" "dropping = machine$q != Machine$Normal;" => "dropping = machine$q == Machine$LlrReq;";
        by("link", "random_damage_under_load_loses_nothing");
    "retry-too-many-acks" in "top$retry": "acknowledgements of flits that were never sent are taken";
        "" "too_many = got_acks$q > ((unacked$q) & 8'hff);" => "too_many = 1'b0;";
        by("offences", "acknowledging_what_was_not_sent_gives_the_link_up");
    "retry-unknown-number" in "top$retry": "a flit that the buffer no longer has is replayed";
        "" "known = (asked[(32'h6)+:(2)] == 32'h0) & (((behind) & 7'h7f) <= unacked$q);" => "known = 1'b1;";
        by("offences", "asking_for_a_flit_that_is_gone_gives_the_link_up");

    // Device-coherent memory: rules
    "db-read-unrecorded" in "top$reads$db_rule": "MemRd A leaves no owner in the directory";
        "11'h381: " "{goes, meta, data, silent, legal} = 7'h3d;" => "{goes, meta, data, silent, legal} = 7'hd;";
        by("hdm_db", "grants_and_the_stored_state");
    "db-write-back-keeps" in "top$writes$db_rule": "MemWr I leaves the owner in the directory";
        "12'h1: " "{goes, owner, conflict, legal} = 6'hd;" => "{goes, owner, conflict, legal} = 6'h5;";
        by("hdm_db", "a_clean_answer_and_a_write_back_are_recorded");
    "db-owner-as-sharer" in "top$order$settle": "a host that gets E is recorded as a sharer";
        "7'h43: " "{grant, after} = 5'ha;" => "{grant, after} = 5'hb;";
        by("hdm_db", "grants_and_the_stored_state");
    "db-store-on-owned" in "top$order$rule": "a local store is served while a host owns the line";
        "6'ha: " "{fail, snoop, serve} = 3'h2;" => "{fail, snoop, serve} = 3'h1;";
        by("hdm_db", "a_snoop_for_each_kind_of_access");
    "db-store-on-shared" in "top$order$rule": "a local store is served while a host shares the line";
        "6'he: " "{fail, snoop, serve} = 3'h2;" => "{fail, snoop, serve} = 3'h1;";
        by("hdm_db", "conflict_early_the_request_waits_for_the_answer");
    "db-snoop-before-stalled" in "top$order$rule": "a snoop goes before the Req that waits for the line";
        "6'h2a: " "{fail, snoop, serve} = 3'h0;" => "{fail, snoop, serve} = 3'h2;";
        survives("the Req is served one snoop later: what is lost is fairness, and that this ends in starvation is shown by the model (sim/model), not by a run");
    "db-answer-keeps-too-much" in "top$order$snoops$trackers$3$rule": "BIRspS to BISnpInv lets the access go on";
        "6'h21: " "{after, wrong, serve, ends} = 5'h1d;" => "{after, wrong, serve, ends} = 5'h1b;";
        by("hdm_db", "what_the_host_may_not_do_is_answered_and_logged");
    "db-answer-misrecorded" in "top$order$snoops$trackers$3$rule": "BIRspS to BISnpData is recorded as I";
        "6'h11: " "{after, wrong, serve, ends} = 5'h1b;" => "{after, wrong, serve, ends} = 5'h3;";
        by("hdm_db", "a_snoop_for_each_kind_of_access");

    // Snoop trackers
    "snoop-owes-nothing" in "top$order$snoops$trackers$3": "an answer that did not come is not owed";
        "" "overdue_r$d = ~got$q & ~unsent_r$q & ~answer;" => "overdue_r$d = 1'b0;";
        by("hdm_db", "a_snoop_that_is_not_answered_fails_the_access_and_nothing_else");
    "snoop-waits-for-ever" in "top$order$snoops$trackers$3": "a snoop has no time-out";
        "if " "(age$q[32'h0])" => "(1'b0)";
        by("hdm_db", "a_snoop_that_is_not_answered_fails_the_access_and_nothing_else");
    "snoop-outlives-link" in "top$order$snoops$trackers$3": "a snoop goes on waiting when the link is down";
        "failed$d = 1'b1;\n            end\n        end\n        if " "(link_down)" => "(1'b0)";
        by("hdm_db", "a_link_that_goes_down_fails_the_access_and_keeps_the_directory");
    "snoop-device-address" in "top$hdm": "a snoop names the device's address";
        "" "back = granule - delta0$q;" => "back = granule;";
        by("hdm_db", "a_snoop_for_each_kind_of_access");

    // Directory
    "dir-any-tag" in "top$order$directory": "way 0 hits whatever its tag";
        "" "(tags$0$read_data == tag)" => "1'b1";
        by("hdm_db", "the_filter_makes_room_by_invalidating");
    "dir-victim-astray" in "top$order$directory": "a victim's address lacks its set";
        "" "(looked$q & set_mask)" => "26'h0";
        by("hdm_db", "the_filter_makes_room_by_invalidating");
    "dir-silent-eviction" in "top$order": "a victim is dropped without a snoop";
        "evict_way$d = evict_way$q + 32'h1;\n                    if (~busy) begin\n                        if " "(|rule$serve)" => "(1'b1)";
        by("hdm_db", "the_filter_makes_room_by_invalidating");
    "dir-entry-reused" in "top$order": "a write-back frees the entry of a line whose snoop is out";
        "" "put_state$d = 32'h1;" => "put_state$d = 32'h0;";
        by("hdm_db", "the_entry_of_a_snooped_line_is_not_given_away");
    "dir-answer-unrecorded" in "top$order": "what an answer says is not recorded";
        "" "put$d = snoops$end_answered;" => "put$d = 1'b0;";
        by("hdm_db", "a_clean_answer_and_a_write_back_are_recorded");

    // Point of coherence, and the device's own accesses
    "order-rwd-waits" in "top$order": "RwD waits for a snoop of its line";
        "if " "(~local_matched)" => "(~local_matched & ~snoops$matched)";
        by("hdm_db", "a_snoop_for_each_kind_of_access");
    "order-req-passes-snoop" in "top$order": "a Req does not wait for the snoop of its line";
        "if " "(~local_matched & ~snoops$matched)" => "(~local_matched)";
        by("hdm_db", "conflict_early_the_request_waits_for_the_answer");
    "order-conflict-unchecked" in "top$order": "BIConflict without a snoop is let pass";
        "" "rwd_wrong = ~snoops$matched;" => "rwd_wrong = 1'b0;";
        by("hdm_db", "what_the_host_may_not_do_is_answered_and_logged");
    "order-owner-unchecked" in "top$order": "a write-back by a host that is not the owner is let pass";
        "" "rwd_wrong = owner$q & (dir != 32'h2);" => "rwd_wrong = 1'b0;";
        by("hdm_db", "what_the_host_may_not_do_is_answered_and_logged");
    "order-conflict-as-cmp" in "top$writes": "BIConflict is answered with Cmp";
        "" "cmp[(64'h0)+:(3)] = 32'h4;" => "cmp[(64'h0)+:(3)] = 32'h0;";
        by("hdm_db", "conflict_early_the_request_waits_for_the_answer");
    "order-memory-state" in "top$reads": "a coherent line's old state is read from the memory, not from the directory";
        "" "completion[(64'h5)+:(2)] = oldest[(64'h1e)+:(2)];" => "completion[(64'h5)+:(2)] = answer_meta$q;";
        by("hdm_db", "grants_and_the_stored_state");
    "port-unguarded" in "top$local_access$port": "the host gets a line between an atomic's read and its write";
        "" "matched_r$d = granted$q & (c[(64'h3)+:(26)] == lookup);" => "matched_r$d = 1'b0;";
        by("hdm_db", "an_atomic_is_whole_while_the_host_asks_for_its_line");
    "port-swaps-always" in "top$local_access$port": "compare-and-swap does not compare";
        "" "(old$q != c[(64'h20)+:(64)])" => "1'b0";
        by("hdm_db", "the_device_reads_and_writes_what_no_host_holds_without_a_snoop");
    "local-refused-written" in "top$local_access": "a write of the engine's that was refused is carried out";
        "if (fail[32'h1]) begin\n            " "verdicts$write_data = 32'h1;" => "verdicts$write_data = 32'h0;";
        by("hdm_db", "a_host_that_does_not_answer_fails_the_descriptor_and_says_how_far_it_came");

    // Memory and arbiter
    "memory-meta-clash" in "top$memory": "a write's metadata is lost to a read's in the same cycle";
        "" "wr_ready = ~(update$q & w_valid$q & w_meta_we$q);" => "wr_ready = 1'b1;";
        by("link", "random_mixes_in_every_configuration");
    "memory-meta-elsewhere" in "top$memory": "a read's metadata goes to the next read's line";
        "" "meta$write_address = line$q;" => "meta$write_address = rd_line;";
        by("link", "random_mixes_in_every_configuration");
    "arbiter-wrong-owner" in "top$arbiter": "the owner of an answer changes after its first beat";
        "" "owners$read = rsp_valid & (rsp_idx == 32'h3);" => "owners$read = rsp_valid & (rsp_idx == 32'h0);";
        by("engine", "random_operations_against_the_model");
    "arbiter-write-stolen" in "top$arbiter": "a local write beat is taken while the link's is written";
        "" "local_wr_ready = wr_ready & ~link_wr_claim;" => "local_wr_ready = wr_ready;";
        by("engine", "the_engine_writes_while_the_host_does");
    "arbiter-link-idle" in "top$arbiter": "a link starts anew while reads of the old one are on their way";
        "" "link_busy = link_reads$q != 32'h0;" => "link_busy = 1'b0;";
        by("offences", "a_restart_waits_for_reads_on_their_way");

    // Engine, where it meets the memory
    "engine-no-range" in "top$io$engine$admission": "ranges beyond the capacity are let pass";
        "" "(range_end$q > capacity)" => "1'b0";
        by("engine", "errors::every_static_error_agrees_with_the_protocol");
    "engine-any-owner" in "top$io$engine$admission": "pages that the host owns are touched";
        "if " "(~owner)" => "(1'b0)";
        by("engine", "random_operations_against_the_model");
    "engine-own-range" in "top$io$engine$hdm": "host addresses in the device's own range are let pass";
        "(low >= hdm0_base) & " "(low < hdm0_limit)" => "1'b0";
        by("engine", "errors::host_addresses_in_the_devices_own_range_are_refused");
    "engine-poison-passes" in "top$io$engine$dev_read": "poisoned lines are read as good";
        "if (" "line_poison$q | rsp_poison | poison$q" => "1'b0";
        by("engine", "errors::poison_stops_an_operation_and_a_write_heals");
    "engine-early-record" in "top$local_access": "the completion record does not wait for the memory";
        "" "engine_wr_idle = beats$empty;" => "engine_wr_idle = 1'b1;";
        by("engine", "the_record_comes_after_the_data");
};
