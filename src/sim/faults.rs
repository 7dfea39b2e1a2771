//! `cxlmem sim run --faults`: what the wire does wrong, and the table of what was injected against what was detected, sent again and delivered.

use std::fmt;
use std::str::FromStr;

use comfy_table::{presets, Table};
use cxlmem_sim::workload::{Ledger, Way};
use cxlmem_sim::{Faults, WireFaults};
use serde_json::{json, Value};

/// Length of bursts if none is given: the longest that the CRC is made for.
const BURST_BITS: u16 = 16;

/// Faults of both directions, as given on the command line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec(pub WireFaults);

impl Spec {
    /// Both directions of the wire.
    pub fn both(self) -> Faults {
        Faults::both(self.0)
    }
    /// True if only sequence numbers can tell that a flit is missing or out of place.
    pub fn needs_seq(self) -> bool {
        self.0.lose > 0.0 || self.0.repeat > 0.0 || self.0.swap > 0.0
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bits={}", self.0.burst_bits)?;
        for (name, p) in [
            ("ber", self.0.ber),
            ("burst", self.0.burst),
            ("lose", self.0.lose),
            ("repeat", self.0.repeat),
            ("swap", self.0.swap),
        ] {
            if p > 0.0 {
                write!(f, ",{name}={p}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Spec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut f = WireFaults {
            burst_bits: BURST_BITS,
            ..Default::default()
        };
        for part in text.split(',') {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("{part:?} is not NAME=VALUE"));
            };
            if name == "bits" {
                f.burst_bits = match value.parse() {
                    Ok(bits @ 1..=528) => bits,
                    _ => return Err(format!("bits={value}: give 1 to 528 bits")),
                };
                continue;
            }
            let place = match name {
                "ber" => &mut f.ber,
                "burst" => &mut f.burst,
                "lose" => &mut f.lose,
                "repeat" => &mut f.repeat,
                "swap" => &mut f.swap,
                _ => {
                    return Err(format!(
                        "there is no fault {name:?}: there are ber, burst, bits, lose, repeat, swap"
                    ))
                }
            };
            *place = match value.parse() {
                Ok(p) if (0.0..=0.5).contains(&p) => p,
                _ => return Err(format!("{name}={value}: give a probability, 0 to 0.5")),
            };
        }
        Ok(Spec(f))
    }
}

/// Escapes of the CRC to be expected of `damaged` flits whose bursts are longer than it: those of up to 16 bits are seen, all but seven patterns.
fn escapes_expected(spec: Spec, way: &Way) -> f64 {
    let per_burst = match spec.0.burst_bits {
        0..=16 => 0.0,
        17 => 1.0 / 32_768.0,
        _ => 1.0 / 65_536.0,
    };
    way.flits as f64 * spec.0.burst * per_burst
}

/// What is shown of a direction: name for programs, name for people, value.
fn rows(spec: Spec, way: &Way) -> [(&'static str, &'static str, String); 16] {
    [
        ("flits", "flits sent", way.flits.to_string()),
        ("damaged", "injected: damaged", way.damaged.to_string()),
        ("lost", "injected: lost", way.lost.to_string()),
        ("repeated", "injected: repeated", way.repeated.to_string()),
        ("swapped", "injected: swapped", way.swapped.to_string()),
        (
            "escapes_expected",
            "CRC escapes expected",
            format!("{:.2}", escapes_expected(spec, way)),
        ),
        ("escapes", "CRC escapes seen", way.escaped.to_string()),
        ("detected", "detected", way.detected.to_string()),
        ("retry_requests", "RETRY.Req sent", way.requests.to_string()),
        ("replayed", "flits sent again", way.replayed.to_string()),
        ("req_or_ndr_sent", "Req / NDR sent", way.sent[0].to_string()),
        (
            "req_or_ndr_delivered",
            "Req / NDR delivered",
            way.delivered[0].to_string(),
        ),
        ("rwd_or_drs_sent", "RwD / DRS sent", way.sent[1].to_string()),
        (
            "rwd_or_drs_delivered",
            "RwD / DRS delivered",
            way.delivered[1].to_string(),
        ),
        (
            "birsp_or_bisnp_sent",
            "BIRsp / BISnp sent",
            way.sent[2].to_string(),
        ),
        (
            "birsp_or_bisnp_delivered",
            "BIRsp / BISnp delivered",
            way.delivered[2].to_string(),
        ),
    ]
}

/// The table for people.
pub fn table(spec: Spec, ledger: &Ledger) -> String {
    let mut t = Table::new();
    t.load_preset(presets::ASCII_MARKDOWN);
    t.set_header(["Flits and messages", "to the device", "to the host"]);
    let (device, host) = (rows(spec, &ledger.to_device), rows(spec, &ledger.to_host));
    for ((_, label, d), (_, _, h)) in device.into_iter().zip(host) {
        t.add_row([label.to_string(), d, h]);
    }
    t.to_string()
}

/// The same for programs.
pub fn json(spec: Spec, ledger: &Ledger) -> Value {
    let way = |way: &Way| -> Value {
        rows(spec, way)
            .into_iter()
            .map(|(name, _, value)| {
                let number: f64 = value.parse().unwrap_or_default();
                let value = if name == "escapes_expected" {
                    json!(number)
                } else {
                    json!(number as u64)
                };
                (name.to_string(), value)
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    json!({
        "to_device": way(&ledger.to_device),
        "to_host": way(&ledger.to_host),
        "reinitialisations": ledger.reinits,
        "losses": ledger.losses(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_are_read_or_refused_with_a_reason() {
        let Spec(f) = "ber=1e-5,burst=0.001,bits=24,lose=0.1,repeat=0,swap=0.2"
            .parse()
            .unwrap();
        assert_eq!(
            (f.ber, f.burst, f.burst_bits, f.lose, f.repeat, f.swap),
            (1e-5, 0.001, 24, 0.1, 0.0, 0.2)
        );
        assert_eq!(Spec(f).to_string().parse(), Ok(Spec(f)));
        assert_eq!("burst=0.1".parse::<Spec>().unwrap().0.burst_bits, 16);
        for (text, reason) in [
            ("", "NAME=VALUE"),
            ("ber", "NAME=VALUE"),
            ("ber=2", "0 to 0.5"),
            ("ber=nan", "0 to 0.5"),
            ("lose=-1", "0 to 0.5"),
            ("bits=0", "1 to 528"),
            ("noise=1", "there is no fault"),
        ] {
            let error = text.parse::<Spec>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
