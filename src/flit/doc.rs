//! A flit as an object: decoded from bits, printed, and encoded again.

use super::hex;
use anyhow::{anyhow, bail, Context, Result};
use cxlmem_protocol::flit::control::Control;
use cxlmem_protocol::flit::format::{self, Class, Format, Kind, Place};
use cxlmem_protocol::flit::{Direction, Flit, FlitHeader};
use cxlmem_protocol::msg::{FieldBits, M2sBiRsp, M2sReq, M2sRwd, S2mBiSnp, S2mDrs, S2mNdr};
use cxlmem_protocol::pack::{Event, Receiver};
use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};

pub(super) const KINDS: [Kind; 6] = [
    Kind::Req,
    Kind::Rwd,
    Kind::BiRsp,
    Kind::Ndr,
    Kind::Drs,
    Kind::BiSnp,
];

/// What a flit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlitKind {
    Protocol,
    AllData,
    Control,
}

/// A flit. All members but the direction may be left out for encoding.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlitDoc {
    pub(super) direction: Option<Direction>,
    pub(super) kind: Option<FlitKind>,
    /// Chunks owed at the start of this flit; not used for encoding.
    #[serde(default)]
    pub(super) rollover: u32,
    pub(super) crc: Option<String>,
    pub(super) crc_ok: Option<bool>,
    /// Header fields by name; null in an all-data flit.
    pub(super) header: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) control: Option<Control>,
    #[serde(default)]
    pub(super) slots: Vec<SlotDoc>,
    /// The messages with Valid = 1.
    #[serde(default)]
    pub(super) messages: Vec<Map<String, Value>>,
    /// Data that became complete in this flit; not used for encoding.
    #[serde(default)]
    pub(super) lines: Vec<Value>,
    /// Rules that the flit breaks; not used for encoding.
    #[serde(default)]
    pub(super) errors: Vec<ErrorDoc>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlotDoc {
    pub(super) slot: usize,
    /// Name of the format. The header holds the codes; where this is given for encoding, it must agree with them.
    #[serde(default)]
    pub(super) format: String,
    /// What it holds, in words; not used for encoding.
    #[serde(default)]
    pub(super) content: String,
    /// 16 bytes of a data slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<String>,
    /// Bits that are not in any message, header or data (reserved, or not understood), as 16 bytes to XOR in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rest: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorDoc {
    pub(super) slot: usize,
    pub(super) error: String,
}

/// Keys of header fields: the name, with its position where it is reserved.
pub(super) fn header_fields() -> impl Iterator<Item = (String, u32, u32)> {
    FlitHeader::FIELDS.iter().map(|(name, lsb, width)| {
        let key = if *name == "RSVD" {
            format!("RSVD[{}:{lsb}]", lsb + width - 1)
        } else {
            (*name).to_owned()
        };
        (key, *lsb, *width)
    })
}

/// A message of nothing but defaults, for the fields that an object leaves out.
fn default_message(kind: Kind) -> u128 {
    match kind {
        Kind::Req => M2sReq::default().pack(),
        Kind::Rwd => M2sRwd::default().pack(),
        Kind::BiRsp => M2sBiRsp::default().pack(),
        Kind::Ndr => S2mNdr::default().pack(),
        Kind::Drs => S2mDrs::default().pack(),
        Kind::BiSnp => S2mBiSnp::default().pack(),
    }
}

fn field_value(field: &FieldBits, raw: u64) -> Value {
    match field.name_of.and_then(|name_of| name_of(raw)) {
        Some(name) => json!(name),
        None => json!(raw << field.shift),
    }
}

impl FlitDoc {
    /// Takes a flit apart. The receiver holds what earlier flits left behind; a bad CRC is stated, and the flit still decoded.
    pub fn decode(flit: &Flit, direction: Direction, receiver: &mut Receiver) -> Self {
        let rollover = receiver.rollover();
        let header = flit.header();
        let kind = match (rollover > 3, header.control) {
            (true, _) => FlitKind::AllData,
            (_, 1) => FlitKind::Control,
            _ => FlitKind::Protocol,
        };
        let mut doc = Self {
            direction: Some(direction),
            kind: Some(kind),
            rollover,
            crc: Some(format!("{:#06x}", flit.crc)),
            crc_ok: Some(flit.crc_ok()),
            header: None,
            control: None,
            slots: Vec::new(),
            messages: Vec::new(),
            lines: Vec::new(),
            errors: Vec::new(),
        };
        let mut data: [Option<&str>; 4] = [None; 4];
        receiver.accept(&flit.slots, |slot, event| match event {
            Event::Chunk(_) => data[slot] = Some("data"),
            Event::ByteEnables(_) => data[slot] = Some("byte enables"),
            Event::Control(control) => doc.control = Some(control),
            Event::Write(write) => doc.lines.push(json!({
                "slot": slot, "message": Kind::Rwd.def().name, "Tag": write.header.tag,
                "data": hex::print(&write.data), "be": write.be.map(|be| format!("{be:#018x}")),
            })),
            Event::Read(read) => doc.lines.push(json!({
                "slot": slot, "message": Kind::Drs.def().name, "Tag": read.header.tag,
                "data": hex::print(&read.data[..if read.half { 32 } else { 64 }]),
            })),
            Event::Error(error) => doc.errors.push(ErrorDoc {
                slot,
                error: error.to_string(),
            }),
            _ => {}
        });
        if !flit.crc_ok() {
            doc.error(0, format!(
                "CRC {:#06x} received, {:#06x} computed: the flit is damaged, and a receiver drops it; what follows is what the bits would say",
                flit.crc,
                cxlmem_protocol::crc::of(&flit.slots)
            ));
        }
        if kind != FlitKind::AllData {
            let raw = header.pack();
            let fields =
                header_fields().map(|(key, lsb, width)| (key, raw >> lsb & ((1 << width) - 1)));
            let shown = fields.filter(|(key, value)| !key.starts_with("RSVD") || *value != 0);
            doc.header = Some(shown.map(|(key, value)| (key, json!(value))).collect());
        }
        for (n, slot) in flit.slots.iter().enumerate() {
            doc.slots.push(doc_slot(
                kind,
                direction,
                n,
                *slot,
                &header,
                data[n],
                &mut doc.messages,
            ));
        }
        if let Some(control) = &doc.control {
            doc.slots[0].content = control.name().to_owned();
        }
        // Whatever encoding would not reproduce.
        let built = doc.build(direction).unwrap_or_default();
        for (doc, (slot, built)) in doc.slots.iter_mut().zip(flit.slots.iter().zip(built)) {
            doc.rest = (slot != &built).then(|| hex::print(&(slot ^ built).to_le_bytes()));
        }
        doc.check_reserved(&flit.slots, direction, &header);
        doc
    }

    fn error(&mut self, slot: usize, error: String) {
        self.errors.push(ErrorDoc { slot, error });
    }

    /// Adds to the errors what the receiver lets pass: reserved bits that are not zero, and formats that are this project's own.
    fn check_reserved(&mut self, slots: &[u128; 4], direction: Direction, header: &FlitHeader) {
        if self.kind == Some(FlitKind::AllData) {
            return;
        }
        let raw = header.pack();
        for (key, lsb, width) in header_fields().filter(|(key, ..)| key.starts_with("RSVD")) {
            let value = raw >> lsb & ((1 << width) - 1);
            if value != 0 {
                self.error(0, format!("header {key} is {value:#x}: a sender leaves reserved bits zero (cxl-mem 3.2)"));
            }
        }
        if self.kind == Some(FlitKind::Control) {
            // Of an unknown control flit no bit is known to be reserved; the receiver's error says so.
            for n in 0..4 {
                if self.control.is_some() && self.slots[n].rest.is_some() {
                    self.error(n, "bits that this control flit does not define are not zero (cxl-mem 3.6): see \"rest\"".to_owned());
                }
            }
            return;
        }
        for (n, slot) in slots.iter().enumerate() {
            let format = format::format(direction, n, header.slot(n));
            // What a CXL.cache message would leave unused is not known here.
            let is_known = matches!(format.class, Class::Mem | Class::Bi68 | Class::MultiHeader)
                && format.cache_valid.is_empty();
            if self.slots[n].data.is_some() {
                continue;
            }
            let content = if n == 0 {
                slot >> format::H_BASE << format::H_BASE
            } else {
                *slot
            };
            if format.class == Class::Bi68 && content != 0 {
                self.error(n, format!("format {} is of this project's extension BI-68: an error on a link whose ends did not both turn it on", format.name));
            }
            let mut defined = 0;
            for place in format.places {
                let message = place.get(*slot);
                defined = place.put(defined, (1 << place.kind.def().bits) - 1);
                let fields = place.kind.def().fields.iter();
                for field in fields.filter(|f| f.name == "RSVD" && message & 1 == 1) {
                    let value = field.get(message);
                    if value != 0 {
                        let name = place.kind.def().name;
                        self.error(n, format!("{name} at bit {}: reserved bits are {value:#x}: a sender leaves them zero", place.lsb));
                    }
                }
            }
            let outside = content & !defined;
            if is_known && outside != 0 {
                self.error(
                    n,
                    format!(
                        "bits outside the messages of format {} are not zero: {outside:#x}",
                        format.name
                    ),
                );
            }
        }
    }

    /// Puts the flit together.
    pub fn encode(&self) -> Result<Flit> {
        let direction = self
            .direction
            .context("no direction: add \"direction\": \"m2s\" or \"s2m\", or use --direction")?;
        let mut slots = self.build(direction)?;
        for doc in &self.slots {
            if let Some(rest) = &doc.rest {
                slots[doc.slot] ^=
                    hex::slot(rest).with_context(|| format!("slot {}: \"rest\"", doc.slot))?;
            }
        }
        let mut flit = Flit::new(slots);
        if self.crc_ok == Some(false) {
            let crc = self
                .crc
                .as_deref()
                .context("crc_ok is false, but there is no \"crc\": give it as \"0x1234\"")?;
            flit.crc = u16::from_str_radix(crc.trim_start_matches("0x"), 16)
                .ok()
                .with_context(|| {
                    format!("crc {crc:?} is not a 16-bit hex number such as \"0x1234\"")
                })?;
        }
        Ok(flit)
    }

    /// The slots, `rest` left out.
    fn build(&self, direction: Direction) -> Result<[u128; 4]> {
        let mut slots = [0u128; 4];
        let mut is_data = [false; 4];
        let mut seen = [false; 4];
        for doc in &self.slots {
            let n = slot_number(doc.slot)?;
            if std::mem::replace(&mut seen[n], true) {
                bail!("slot {n} is given twice in \"slots\": remove one");
            }
            if let Some(data) = &doc.data {
                slots[n] = hex::slot(data).with_context(|| format!("slot {n}: \"data\""))?;
                is_data[n] = true;
            }
        }
        if self.kind == Some(FlitKind::AllData) || (self.kind.is_none() && is_data[0]) {
            if !self.messages.is_empty() {
                bail!("an all-data flit holds no messages: remove them, or the data of slot 0");
            }
            if self.header.is_some() || self.control.is_some() {
                bail!("an all-data flit has no header and no control: remove them, or the data of slot 0");
            }
            return Ok(slots);
        }
        if is_data[0] {
            bail!("slot 0 holds data only in an all-data flit: set \"kind\" to \"all-data\", or move the data to slots 1 to 3");
        }
        let mut placed: [Vec<(Kind, Option<u32>, u128)>; 4] = Default::default();
        for (index, message) in self.messages.iter().enumerate() {
            let (n, kind, bit, raw) =
                read_message(message).with_context(|| format!("messages[{index}]"))?;
            if is_data[n] {
                bail!("messages[{index}]: slot {n} holds data");
            }
            placed[n].push((kind, bit, raw));
        }
        let header = self.read_header(direction, &placed, &is_data)?;
        if self.kind == Some(FlitKind::Protocol) && (self.control.is_some() || header.control == 1)
        {
            bail!("\"kind\" is \"protocol\", but there is a \"control\" or a header of Type 1: remove one of them");
        }
        if self.control.is_some() && is_data.contains(&true) {
            bail!("a control flit has no data slots: remove \"data\" or \"control\"");
        }
        if let Some(control) = &self.control {
            if !self.messages.is_empty() {
                bail!("a control flit holds no messages: remove \"messages\" or \"control\"");
            }
            return Ok(control.flit(header).slots);
        }
        for n in 0..4 {
            let format = format::format(direction, n, header.slot(n));
            let places = assign(format, &placed[n]).ok_or_else(|| {
                let kinds: Vec<_> = placed[n].iter().map(|(kind, ..)| kind.def().name).collect();
                anyhow!("slot {n}: format {} does not hold {}; change Slot{n} in the header, or leave it out", format.name, kinds.join(" + "))
            })?;
            let given = self.slots.iter().find(|s| s.slot == n).map(|s| &s.format);
            if given.is_some_and(|name| !name.is_empty() && name != format.name) {
                bail!(
                    "slot {n}: \"format\" is {:?}, but header and messages make it {}: change one of them, or leave \"format\" out",
                    given.map_or("", |name| name),
                    format.name
                );
            }
            for (place, (.., raw)) in places.iter().zip(&placed[n]) {
                slots[n] = place.put(slots[n], *raw);
            }
        }
        slots[0] |= u128::from(header.pack());
        Ok(slots)
    }

    /// The header: what the messages ask for, overruled by what the object says.
    fn read_header(
        &self,
        direction: Direction,
        placed: &[Vec<(Kind, Option<u32>, u128)>; 4],
        is_data: &[bool; 4],
    ) -> Result<FlitHeader> {
        let mut header = FlitHeader::default();
        if self.kind == Some(FlitKind::Control) {
            header.control = 1;
        } else {
            let messages = || placed.iter().flatten();
            header.sz = u8::from(messages().any(|(kind, ..)| kind.has_data()));
            let partial = u128::from(cxlmem_protocol::msg::M2sRwdOpcode::MemWrPtl.code());
            header.be = u8::from(
                messages().any(|(kind, _, raw)| *kind == Kind::Rwd && raw >> 1 & 15 == partial),
            );
            for n in 0..4 {
                let given = self
                    .header
                    .as_ref()
                    .is_some_and(|header| header.contains_key(&format!("Slot{n}")));
                if !is_data[n] && !given {
                    header.set_slot(n, choose_format(direction, n, &placed[n])?);
                }
            }
        }
        let mut raw = header.pack();
        for (key, value) in self.header.iter().flatten() {
            let (_, lsb, width) =
                header_fields()
                    .find(|(name, ..)| name == key)
                    .ok_or_else(|| {
                        let names: Vec<_> = header_fields().map(|(name, ..)| name).collect();
                        anyhow!("header: no field {key:?}; there are {}", names.join(", "))
                    })?;
            let value = number(value, width).with_context(|| format!("header: {key}"))? as u32;
            raw = raw & !(((1 << width) - 1) << lsb) | value << lsb;
        }
        Ok(FlitHeader::unpack(raw))
    }
}

/// One slot in words; its valid messages go to `messages`.
fn doc_slot(
    kind: FlitKind,
    direction: Direction,
    n: usize,
    slot: u128,
    header: &FlitHeader,
    data: Option<&str>,
    messages: &mut Vec<Map<String, Value>>,
) -> SlotDoc {
    let mut doc = SlotDoc {
        slot: n,
        format: String::new(),
        content: "empty".to_owned(),
        data: None,
        rest: None,
    };
    if let Some(what) = data {
        doc.format = if kind == FlitKind::AllData {
            String::new()
        } else {
            format!("G{}", header.slot(n))
        };
        doc.content = what.to_owned();
        doc.data = Some(hex::print(&slot.to_le_bytes()));
        return doc;
    }
    if kind != FlitKind::Protocol {
        return doc;
    }
    let format = format::format(direction, n, header.slot(n));
    doc.format = format.name.to_owned();
    let valid: Vec<&Place> = format
        .places
        .iter()
        .filter(|place| place.get(slot) & 1 == 1)
        .collect();
    if !valid.is_empty() {
        doc.content = valid
            .iter()
            .map(|place| place.kind.def().name)
            .collect::<Vec<_>>()
            .join(" + ");
    } else if format.class != Class::Mem && slot >> if n == 0 { format::H_BASE } else { 0 } != 0 {
        doc.content = format!("not understood ({:?})", format.class);
    }
    for place in valid {
        let raw = place.get(slot);
        let mut message = Map::new();
        message.insert("slot".to_owned(), json!(n));
        message.insert("message".to_owned(), json!(place.kind.def().name));
        message.insert("bit".to_owned(), json!(place.lsb));
        for field in place.kind.def().fields {
            let value = field.get(raw);
            if field.name != "RSVD" || value != 0 {
                message.insert(field.name.to_owned(), field_value(field, value));
            }
        }
        messages.push(message);
    }
    doc
}

fn slot_number(n: usize) -> Result<usize> {
    if n > 3 {
        bail!("slot {n}: a flit has slots 0 to 3");
    }
    Ok(n)
}

/// A number that fits `width` bits: a JSON number or boolean, or a string in decimal or 0x hex.
fn number(value: &Value, width: u32) -> Result<u64> {
    let number = match value {
        Value::Bool(bit) => Some(u64::from(*bit)),
        Value::Number(number) => number.as_u64(),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
        _ => None,
    }
    .with_context(|| format!("{value} is not a whole number: write 7, or \"0x7\""))?;
    if width < 64 && number >> width != 0 {
        bail!(
            "{number} does not fit {width} bits: the largest value is {}",
            (1u64 << width) - 1
        );
    }
    Ok(number)
}

/// Slot, kind, place if given, and bits of a message object.
fn read_message(message: &Map<String, Value>) -> Result<(usize, Kind, Option<u32>, u128)> {
    let slot = message
        .get("slot")
        .and_then(Value::as_u64)
        .context("no \"slot\": say which, 0 to 3")?;
    let slot = slot_number(usize::try_from(slot)?)?;
    let name = message
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let kind = KINDS
        .into_iter()
        .find(|kind| kind.def().name == name)
        .ok_or_else(|| {
            anyhow!(
                "\"message\" is {name:?}; it must be one of {}",
                KINDS.map(|kind| kind.def().name).join(", ")
            )
        })?;
    let bit = match message.get("bit") {
        Some(bit) => Some(number(bit, 7).context("bit")? as u32),
        None => None,
    };
    let mut raw = default_message(kind);
    for (key, value) in message {
        if ["slot", "message", "bit"].contains(&key.as_str()) {
            continue;
        }
        let field = kind
            .def()
            .fields
            .iter()
            .find(|field| field.name == key)
            .ok_or_else(|| {
                let names: Vec<_> = kind.def().fields.iter().map(|field| field.name).collect();
                anyhow!("{name} has no field {key:?}; it has {}", names.join(", "))
            })?;
        let bits = read_field(field, value).with_context(|| format!("{name} {key}"))?;
        raw = field.with(raw, bits);
    }
    if !kind
        .def()
        .fields
        .iter()
        .any(|field| field.name.ends_with("Opcode") && message.contains_key(field.name))
    {
        bail!(
            "{name} has no opcode: add its {}",
            kind.def().fields[1].name
        );
    }
    Ok((slot, kind, bit, raw))
}

fn read_field(field: &FieldBits, value: &Value) -> Result<u64> {
    if let (Some(name_of), Value::String(text)) = (field.name_of, value) {
        let codes = || 0..1u64 << field.width;
        if let Some(code) = codes().find(|code| name_of(*code) == Some(text)) {
            return Ok(code);
        }
        if number(value, field.width).is_err() {
            let names: Vec<_> = codes().filter_map(name_of).collect();
            bail!(
                "{text:?} is no name of a code; there are {}",
                names.join(", ")
            );
        }
    }
    let number = number(value, field.width + field.shift)?;
    if number & ((1 << field.shift) - 1) != 0 {
        bail!(
            "{number:#x} is not a multiple of {}: these address bits do not travel",
            1 << field.shift
        );
    }
    Ok(number >> field.shift)
}

/// The places that messages take in a format, `None` if they do not fit.
fn assign<'f>(
    format: &'f Format,
    messages: &[(Kind, Option<u32>, u128)],
) -> Option<Vec<&'f Place>> {
    let mut free: Vec<&Place> = format.places.iter().collect();
    messages
        .iter()
        .map(|(kind, bit, _)| {
            let at = free
                .iter()
                .position(|p| p.kind == *kind && bit.is_none_or(|bit| bit == p.lsb))?;
            Some(free.remove(at))
        })
        .collect()
}

/// The simplest format that holds the messages.
fn choose_format(
    direction: Direction,
    n: usize,
    messages: &[(Kind, Option<u32>, u128)],
) -> Result<u8> {
    use format::{m2s_g, m2s_h, s2m_g, s2m_h};
    if messages.is_empty() {
        return Ok(match (direction, n) {
            (Direction::M2s, 0) => m2s_h::EMPTY,
            (Direction::M2s, _) => m2s_g::EMPTY,
            (Direction::S2m, 0) => s2m_h::EMPTY,
            (Direction::S2m, _) => s2m_g::EMPTY,
        });
    }
    let fits = |code: &u8| assign(format::format(direction, n, *code), messages).is_some();
    (0..8)
        .rev()
        .filter(fits)
        .min_by_key(|code| {
            let format = format::format(direction, n, *code);
            (
                format.class != Class::Mem,
                format.cache_valid.len(),
                format.places.len(),
            )
        })
        .ok_or_else(|| {
            let kinds: Vec<_> = messages.iter().map(|(kind, ..)| kind.def().name).collect();
            anyhow!(
                "slot {n}: no format of this direction holds {}; move a message to another slot",
                kinds.join(" + ")
            )
        })
}
