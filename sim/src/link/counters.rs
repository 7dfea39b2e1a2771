//! What the host's end of the link counts and notes.

/// Counts since construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Flits put on the wire towards the device, lost and damaged ones included.
    pub flits_sent: u64,
    /// Good flits from the device.
    pub flits_received: u64,
    /// Flits from the device that were the first to be dropped for a bad CRC.
    pub crc_errors: u64,
    /// Flits from the device dropped because an earlier one was damaged.
    pub dropped_after_error: u64,
    /// RETRY.Req sent.
    pub retry_requests: u64,
    /// Flits sent again.
    pub replayed: u64,
    /// Re-initialisations of the physical layer.
    pub reinits: u64,
    /// Slots or messages from the device that broke a rule.
    pub protocol_errors: u64,
    /// Lines of data sent (counted with their header).
    pub lines_sent: u64,
    /// Data slots received.
    pub data_slots_received: u64,
    /// Cycles in which a message waited here for a credit.
    pub credit_wait: u64,
    /// Times the link came up.
    pub ups: u64,
    /// Req taken to be sent.
    pub reqs: u64,
    /// RwD taken to be sent.
    pub rwds: u64,
    /// NDR received.
    pub ndrs: u64,
    /// DRS received with all their data.
    pub drss: u64,
    /// BIRsp taken to be sent (BI-68).
    pub birsps: u64,
    /// BISnp received (BI-68).
    pub bisnps: u64,
}

/// When slots passed the pins, in cycles of the device: what latencies are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Last slot of the last flit with a message or data towards the device.
    pub request_end: u64,
    /// First slot of the last flit with a response header from the device.
    pub response_start: u64,
    /// Last slot of the last flit that completed a response.
    pub response_end: u64,
}
