//! The one list of BAR0 registers. Everything else about registers is derived from it.

/// Calls the macro `$cb` with the whole register list, in address order.
///
/// One entry is `(Name, offset, ACCESS, reset, "doc", [(FIELD, lsb, width, "doc"), ...])`: `offset` in bytes from the start of
/// BAR0, `ACCESS` one of `RO`, `RW`, `RW1C`, `WO`, `reset` the 32-bit value after reset (0 where the configuration decides).
///
/// A callback accepts it with
/// `($(($id:ident, $off:literal, $acc:ident, $reset:literal, $doc:literal, [$(($f:ident, $lsb:literal, $w:literal, $fd:literal)),*]))*)`.
/// Enumerations derived from the list put a variant `None` (unassigned offset) first, as [`crate::regs::Reg`] does, so that a
/// variant's index is the same in Rust and in hardware.
#[macro_export]
macro_rules! for_each_reg {
    ($cb:ident) => {
        $cb! {
            // ---- Capability array (cxl-mem 4.3) ----
            (CapHeader, 0x1000, RO, 0x0311_0001, "Header of the capability array", [
                (ID, 0, 16, "1: cache/mem capability array"),
                (VERSION, 16, 4, "array version, 1"),
                (MEM_VERSION, 20, 4, "cache/mem version, 1"),
                (COUNT, 24, 8, "number of entries that follow")])
            (CapRas, 0x1004, RO, 0x1001_0002, "Pointer to the RAS capability", [
                (ID, 0, 16, "2: RAS"), (VERSION, 16, 4, "1"), (POINTER, 20, 12, "bytes from 0x1000")])
            (CapLink, 0x1008, RO, 0x1801_0004, "Pointer to the link capability; its registers read zero", [
                (ID, 0, 16, "4: link"), (VERSION, 16, 4, "1"), (POINTER, 20, 12, "bytes from 0x1000")])
            (CapHdm, 0x100C, RO, 0x2001_0005, "Pointer to the HDM decoder capability", [
                (ID, 0, 16, "5: HDM decoder"), (VERSION, 16, 4, "1"), (POINTER, 20, 12, "bytes from 0x1000")])

            // ---- RAS capability (cxl-mem 4.3) ----
            (RasUncStatus, 0x1100, RW1C, 0, "Uncorrectable error status", [
                (MEM_DATA_PARITY, 4, 1, "memory data parity"),
                (MEM_ADDR_PARITY, 5, 1, "memory address parity"),
                (MEM_BE_PARITY, 6, 1, "memory byte enable parity"),
                (MEM_DATA_ECC, 7, 1, "memory data ECC"),
                (REINIT_THRESHOLD, 8, 1, "link re-initialisation threshold"),
                (RESERVED_ENCODING, 9, 1, "reserved encoding or illegal combination received; the header log holds the message"),
                (POISON_RECEIVED, 10, 1, "poison received"),
                (RX_OVERFLOW, 11, 1, "receiver overflow: a message arrived without a credit"),
                (INTERNAL, 14, 1, "internal error")])
            (RasUncMask, 0x1104, RW, 0x0001_CFFF, "Uncorrectable error mask, bits as the status", [])
            (RasUncSeverity, 0x1108, RW, 0x0001_CFFF, "Uncorrectable error severity (1 fatal), bits as the status", [])
            (RasCorStatus, 0x110C, RW1C, 0, "Correctable error status", [
                (MEM_ECC, 1, 1, "memory data ECC, corrected"),
                (CRC_THRESHOLD, 2, 1, "CRC error threshold"),
                (RETRY_THRESHOLD, 3, 1, "link retry threshold"),
                (MEM_POISON, 5, 1, "poison received on CXL.mem"),
                (PHY, 6, 1, "physical layer error")])
            (RasCorMask, 0x1110, RW, 0x0000_007F, "Correctable error mask, bits as the status", [])
            (RasCapCtrl, 0x1114, RW, 0x0000_2000, "RAS capability and control", [
                (FIRST_ERROR, 0, 6, "number of the first uncorrectable error (read-only)"),
                (POISON_ENABLE, 13, 1, "poison is reported in responses")])
            (RasLog0, 0x1118, RO, 0, "Header log, bits 31:0: the message that raised the first error", [])
            (RasLog1, 0x111C, RO, 0, "Header log, bits 63:32", [])
            (RasLog2, 0x1120, RO, 0, "Header log, bits 95:64", [])
            (RasLog3, 0x1124, RO, 0, "Header log, bits 127:96", [])
            (RasLog4, 0x1128, RO, 0, "Header log, bits 159:128", [])
            (RasLog5, 0x112C, RO, 0, "Header log, bits 191:160", [])
            (RasLog6, 0x1130, RO, 0, "Header log, bits 223:192", [])
            (RasLog7, 0x1134, RO, 0, "Header log, bits 255:224", [])
            (RasLog8, 0x1138, RO, 0, "Header log, bits 287:256", [])
            (RasLog9, 0x113C, RO, 0, "Header log, bits 319:288", [])
            (RasLog10, 0x1140, RO, 0, "Header log, bits 351:320", [])
            (RasLog11, 0x1144, RO, 0, "Header log, bits 383:352", [])
            (RasLog12, 0x1148, RO, 0, "Header log, bits 415:384", [])
            (RasLog13, 0x114C, RO, 0, "Header log, bits 447:416", [])
            (RasLog14, 0x1150, RO, 0, "Header log, bits 479:448", [])
            (RasLog15, 0x1154, RO, 0, "Header log, bits 511:480", [])

            // ---- HDM decoder capability (cxl-mem 4.4) ----
            (HdmCap, 0x1200, RO, 0x0070_0401, "HDM decoder capability", [
                (COUNT_CODE, 0, 4, "number of decoders, coded: 0 is one, 1 is two"),
                (TARGET_COUNT, 4, 4, "0: an endpoint"),
                (INTERLEAVE_11_8, 8, 1, "interleave on address bits 11:8: no"),
                (INTERLEAVE_14_12, 9, 1, "interleave on address bits 14:12: no"),
                (POISON_CAPABLE, 10, 1, "can poison on a decode error"),
                (NXM_CAPABLE, 20, 1, "answers MemData-NXM"),
                (COHERENCY_MODELS, 21, 2, "0 unknown, 1 device, 2 host-only, 3 both")])
            (HdmGlobalCtrl, 0x1204, RW, 0, "HDM decoder global control", [
                (POISON_ON_ERROR, 0, 1, "poison the data of a read that no decoder takes"),
                (ENABLE, 1, 1, "decoders on")])
            (Hdm0BaseLo, 0x1210, RW, 0, "Decoder 0 base, low (256 MiB granules)", [(BASE, 28, 4, "base bits 31:28")])
            (Hdm0BaseHi, 0x1214, RW, 0, "Decoder 0 base, bits 63:32", [])
            (Hdm0SizeLo, 0x1218, RW, 0, "Decoder 0 size, low (256 MiB granules)", [(SIZE, 28, 4, "size bits 31:28")])
            (Hdm0SizeHi, 0x121C, RW, 0, "Decoder 0 size, bits 63:32", [])
            (Hdm0Ctrl, 0x1220, RW, 0x0000_1000, "Decoder 0 control", [
                (IG, 0, 4, "interleave granularity, 256 B << IG"),
                (IW, 4, 4, "interleave ways, coded; only 0 (one way) commits"),
                (LOCK, 8, 1, "lock on commit: read-only until reset once committed"),
                (COMMIT, 9, 1, "software asks for the commit"),
                (COMMITTED, 10, 1, "in force (read-only)"),
                (ERROR, 11, 1, "not committed (read-only)"),
                (TARGET_TYPE, 12, 1, "1 host-only (HDM-H), 0 device-coherent"),
                (BI, 13, 1, "back-invalidate")])
            (Hdm0SkipLo, 0x1224, RW, 0, "Decoder 0 DPA skip, low (256 MiB granules)", [(SKIP, 28, 4, "skip bits 31:28")])
            (Hdm0SkipHi, 0x1228, RW, 0, "Decoder 0 DPA skip, bits 63:32", [])
            (Hdm1BaseLo, 0x1230, RW, 0, "Decoder 1 base, low (256 MiB granules)", [(BASE, 28, 4, "base bits 31:28")])
            (Hdm1BaseHi, 0x1234, RW, 0, "Decoder 1 base, bits 63:32", [])
            (Hdm1SizeLo, 0x1238, RW, 0, "Decoder 1 size, low (256 MiB granules)", [(SIZE, 28, 4, "size bits 31:28")])
            (Hdm1SizeHi, 0x123C, RW, 0, "Decoder 1 size, bits 63:32", [])
            (Hdm1Ctrl, 0x1240, RW, 0x0000_1000, "Decoder 1 control", [
                (IG, 0, 4, "interleave granularity, 256 B << IG"),
                (IW, 4, 4, "interleave ways, coded; only 0 (one way) commits"),
                (LOCK, 8, 1, "lock on commit: read-only until reset once committed"),
                (COMMIT, 9, 1, "software asks for the commit"),
                (COMMITTED, 10, 1, "in force (read-only)"),
                (ERROR, 11, 1, "not committed (read-only)"),
                (TARGET_TYPE, 12, 1, "1 host-only (HDM-H), 0 device-coherent"),
                (BI, 13, 1, "back-invalidate")])
            (Hdm1SkipLo, 0x1244, RW, 0, "Decoder 1 DPA skip, low (256 MiB granules)", [(SKIP, 28, 4, "skip bits 31:28")])
            (Hdm1SkipHi, 0x1248, RW, 0, "Decoder 1 DPA skip, bits 63:32", [])

            // ---- Identity ----
            (Id, 0x2000, RO, 0x4D4C_5843, "Identity: the bytes 'CXLM', first byte lowest", [])
            (Version, 0x2004, RO, 0x0001_0000, "Version of this register map", [
                (MINOR, 0, 16, "additions that old software may ignore"),
                (MAJOR, 16, 16, "software must refuse a major version it does not know")])
            (Caps, 0x2008, RO, 0, "What this configuration has", [
                (ENGINE, 0, 1, "the migration engine and its ring"),
                (SIMULATED, 1, 1, "a simulation, not hardware"),
                (EXTERNAL_MEMORY, 2, 1, "memory behind the external port, not on-chip RAM"),
                (BACK_INVALIDATE, 3, 1, "BI-68 back-invalidate"),
                (LINK_RETRY, 4, 1, "link-level retry"),
                (FREE_RUNNING, 5, 1, "the transmitter can run without gaps"),
                (META0, 6, 1, "stores Meta0 with every line"),
                (PARTIAL_WRITE, 7, 1, "takes MemWrPtl"),
                (MSIX, 8, 1, "has MSI-X"),
                (RAS_LOG, 9, 1, "the RAS header log is kept")])
            (ConfigId, 0x200C, RO, 0, "Number of the named configuration (hdl/src/config.rs)", [])
            (CapacityLo, 0x2010, RO, 0, "Memory capacity in bytes, bits 31:0", [])
            (CapacityHi, 0x2014, RO, 0, "Memory capacity in bytes, bits 63:32", [])
            (ClockKhz, 0x2018, RO, 0, "Clock of the controller in kHz, as its configuration states it", [])
            (Scratch, 0x201C, RW, 0, "No effect; reads back", [])
            (MediaStatus, 0x2020, RO, 0, "State of the memory", [(READY, 0, 1, "swept and usable")])
            (Trackers, 0x2024, RO, 0, "Tracker pools", [
                (REQ, 0, 16, "Req that can be outstanding"), (RWD, 16, 16, "RwD that can be outstanding")])

            // ---- Link ----
            (LinkCtrl, 0x2040, RW, 0x0000_0005, "Link control", [
                (ENABLE, 0, 1, "1: initialise and run; 0: silent, INIT and credits forgotten"),
                (FREE_RUNNING, 1, 1, "send a flit in every frame, empty ones too"),
                (OFFER_SEQ, 2, 1, "offer sequence numbers in the CRC at the next INIT"),
                (VIRAL, 3, 1, "contain: the next flit's CRC is spoiled once, RETRY.Ack says Viral, and all read data leaves as poison"),
                (OFFER_BI, 4, 1, "offer back-invalidate (BI-68) at the next INIT")])
            (LinkStatus, 0x2044, RO, 0, "Link status", [
                (UP, 0, 1, "INIT.Param both sent and received"),
                (INIT_RECEIVED, 1, 1, "INIT.Param received"),
                (INIT_SENT, 2, 1, "INIT.Param sent"),
                (ABORTED, 3, 1, "given up after retries, or a rule was broken: ENABLE 0, then 1 starts anew"),
                (SEQ, 4, 1, "sequence numbers are in the CRC: both ends offered them"),
                (BI, 5, 1, "BI-68 is in force: both ends offered it"),
                (LOCAL, 16, 3, "local retry state: 0 normal, 1 request to be sent, 2 answer awaited, 3 physical layer re-initialises, 4 aborted"),
                (REMOTE, 19, 1, "remote retry state: an answer is to be sent"),
                (NUM_RETRY, 20, 5, "requests sent for the flit that is awaited"),
                (FREE, 25, 7, "free entries of the retry buffer")])
            (BdfInfo, 0x2048, RO, 0, "Requester id in use", [(BDF, 0, 16, "bus 15:8, device 7:3, function 2:0")])

            (LlrLimits, 0x204C, RW, 0x0A0A_0018, "Link-level retry: thresholds", [
                (TIMEOUT, 0, 13, "flits sent while the answer to a request is awaited; at least the round trip and 16"),
                (MAX_NUM_RETRY, 16, 5, "requests before the physical layer is asked to re-initialise"),
                (MAX_NUM_PHY_REINIT, 24, 5, "re-initialisations before the link is given up")])
            (LlrTail, 0x2050, RW, 0x0000_0100, "Link-level retry: lost last flits", [
                (TAIL, 0, 13, "with SEQ: flit times without acknowledgement before an LLCRD is sent; 0 never")])

            // ---- Device-coherent memory (HDM-DB) ----
            (CohCtrl, 0x2060, RW, 0x0000_0002, "Coherence: what to grant where the protocol leaves the choice", [
                (SHARED_GETS_E, 0, 1, "a host that asks for S gets E unless it may hold S already"),
                (ANY_GETS_E, 1, 1, "MemRdData gets E")])
            (SnoopTimeout, 0x2064, RW, 0x0002_0000, "Back-invalidate: time for an answer", [
                (CYCLES, 0, 24, "the device's access fails after one to two times as many cycles")])

            // ---- Counters: they wrap, and CounterCtrl clears them ----
            (RxFlits, 0x2080, RO, 0, "Flits received with a good CRC", [])
            (RxCrcErrors, 0x2084, RO, 0, "Flits dropped for a bad CRC", [])
            (RxProtocolErrors, 0x2088, RO, 0, "Flits or messages that broke a rule (reserved encoding, no credit, bad packing)", [])
            (TxFlits, 0x208C, RO, 0, "Flits sent", [])
            (ReqCount, 0x2090, RO, 0, "M2S Req received", [])
            (RwdCount, 0x2094, RO, 0, "M2S RwD received with all their data", [])
            (NdrCount, 0x2098, RO, 0, "S2M NDR sent", [])
            (DrsCount, 0x209C, RO, 0, "S2M DRS headers sent", [])
            (NxmCount, 0x20A0, RO, 0, "Requests that no decoder took, or beyond the capacity", [])
            (CreditStall, 0x20A4, RO, 0, "Cycles with a message to send and no credit for it", [])
            (CyclesLo, 0x20A8, RO, 0, "Cycles since reset or clear, bits 31:0; reading latches CyclesHi", [])
            (CyclesHi, 0x20AC, RO, 0, "Cycles, bits 63:32, as latched by CyclesLo", [])
            (IoErrors, 0x20B0, RO, 0, "TLPs dropped or answered Unsupported Request", [])
            (CounterCtrl, 0x20B4, WO, 0, "Counter control", [(CLEAR, 0, 1, "1: clear all counters")])
            (RetryRequests, 0x20B8, RO, 0, "RETRY.Req sent", [])
            (RetryReplays, 0x20BC, RO, 0, "Flits sent again", [])
            (PhyReinits, 0x20C0, RO, 0, "Re-initialisations of the physical layer asked for", [])
            (Snoops, 0x20C4, RO, 0, "Back-invalidate snoops begun", [])
            (SnoopFailures, 0x20C8, RO, 0, "Back-invalidate snoops that ended without an answer in time", [])

            // ---- Engine (descriptor layout: module `engine`) ----
            (EngCtrl, 0x2100, RW, 0, "Engine control", [
                (ENABLE, 0, 1, "fetch and run descriptors; 0: stop after the current one"),
                (SOFT_RESET, 1, 1, "abort, head and tail to 0, clear the fault; clears itself")])
            (EngStatus, 0x2104, RO, 0, "Engine status", [
                (ENABLED, 0, 1, "enabled"),
                (BUSY, 1, 1, "a descriptor is in work or head is not tail"),
                (FAULT, 2, 1, "stopped by a ring error"),
                (FAULT_CODE, 8, 8, "completion status code of the ring error")])
            (EngRingLo, 0x2108, RW, 0, "Descriptor ring address, bits 31:0; 64-byte aligned", [])
            (EngRingHi, 0x210C, RW, 0, "Descriptor ring address, bits 63:32", [])
            (EngRingLog2, 0x2110, RW, 0, "log2 of the number of descriptors, 2 to 10", [(LOG2, 0, 4, "2..10")])
            (EngTail, 0x2114, RW, 0, "Doorbell: index one past the last descriptor, modulo the ring", [(INDEX, 0, 10, "ring index")])
            (EngHead, 0x2118, RO, 0, "Index of the next descriptor to fetch", [(INDEX, 0, 10, "ring index")])
            (EngCplLo, 0x211C, RW, 0, "Completion ring address, bits 31:0; 32-byte aligned", [])
            (EngCplHi, 0x2120, RW, 0, "Completion ring address, bits 63:32", [])
            (EngVector, 0x2124, RW, 0, "MSI-X vector for completions", [(VECTOR, 0, 2, "0..3")])
            (EngTimeout, 0x2128, RW, 100_000, "Cycles to wait for a DMA completion", [])
            (EngDone, 0x212C, RO, 0, "Completion records written since reset", [])
        }
    };
}
