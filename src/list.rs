//! `cxlmem list`: what is there, as a JSON array, in the manner of `cxl list`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use comfy_table::{presets, Table};
use cxlmem_driver::{Device, Transport};
use cxlmem_hdl::Config;
use cxlmem_protocol::regs::{self, RegDef};
use cxlmem_sim::system::Options;
use serde_json::{json, Map, Value};

use crate::cli;
use crate::target::{self, SimTarget, Target};

const EXAMPLES: &str = "\
Examples:
  cxlmem list                                           the simulated device, as a JSON array
  cxlmem list -u                                        the same for people
  cxlmem list --config tiny --json devices.json
  cxlmem list -u --target serial:/dev/ttyUSB0           a board (`serial:PORT,BAUD` if its rate is not 3000000 baud)";

/// Arguments of `cxlmem list`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to look: `sim` powers a simulated device up and brings it up, `serial:PORT` does so with a board
    #[arg(long, default_value = "sim")]
    target: String,
    /// Named configuration of a simulated device
    #[arg(long, default_value = "sim", value_name = "NAME", value_parser = target::config)]
    config: &'static Config,
    /// For people: a table, sizes with units
    #[arg(short = 'u', long)]
    human: bool,
    /// For programs: an array of devices, which is what it prints without an option too; - or no FILE is standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", conflicts_with = "human")]
    json: Option<PathBuf>,
}

/// Carries out `cxlmem list`.
pub fn run(args: Args) -> Result<()> {
    cli::check_output(args.json.as_deref())?;
    let config = args.config;
    let options = Options {
        host_mem_bytes: 1 << 20,
        ..Options::default()
    };
    let mut transport = match target::parse(&args.target)? {
        Target::Serial(port, baud) => SimTarget::board(&port, baud, options)?,
        _ => {
            target::check(&args.target)?;
            SimTarget::new(config.name, options).context("cannot start the simulated device")?
        }
    };
    let config = transport.config();
    let described = transport.describe();
    // A device without engine cannot be opened for migration, and is listed all the same.
    let entry = if config.engine {
        let device = Device::open(transport, &cxlmem_driver::Options::default())
            .context("cannot open the device")?;
        let free = device.free_bytes();
        let mut entry = device.with_transport(|t| describe(t))?;
        entry.insert("free_bytes".into(), free.into());
        entry
    } else {
        transport
            .bring_up()
            .context("the device does not come up")?;
        describe(&mut transport)?
    };
    let mut memdev = Map::new();
    memdev.insert("memdev".into(), "mem0".into());
    memdev.insert("target".into(), described.into());
    memdev.insert("config".into(), config.name.into());
    memdev.extend(entry);
    match args.human {
        true => print_table(&memdev),
        false => cli::write_json(args.json.as_deref().unwrap_or("-".as_ref()), &[memdev])?,
    }
    Ok(())
}

fn read(t: &mut dyn Transport, offset: u32) -> Result<u32> {
    t.mmio_read32(offset)
        .with_context(|| format!("cannot read register {offset:#06x}"))
}

fn read64(t: &mut dyn Transport, low: u32, high: u32) -> Result<u64> {
    Ok(u64::from(read(t, low)?) | u64::from(read(t, high)?) << 32)
}

/// Everything that registers tell.
fn describe(t: &mut dyn Transport) -> Result<Map<String, Value>> {
    let id = t
        .config_read32(0)
        .context("cannot read configuration space")?;
    let class = t
        .config_read32(8)
        .context("cannot read configuration space")?;
    let caps = read(t, regs::Caps::OFFSET)?;
    let status = read(t, regs::LinkStatus::OFFSET)?;
    let entry = json!({
        "vendor": format!("{:#06x}", id & 0xFFFF),
        "device": format!("{:#06x}", id >> 16),
        "class": format!("{:#08x}", class >> 8),
        "ram_size": read64(t, regs::CapacityLo::OFFSET, regs::CapacityHi::OFFSET)?,
        "media_ready": regs::MediaStatus::READY.is_set(read(t, regs::MediaStatus::OFFSET)?),
        "clock_khz": read(t, regs::ClockKhz::OFFSET)?,
        "capabilities": names_set(def("Caps"), caps),
        "regions": decoders(t)?,
        "link": {
            "link": "link0",
            "up": regs::LinkStatus::UP.is_set(status),
            "counters": counters(t)?,
        },
        "errors": {
            "uncorrectable": names_set(def("RasUncStatus"), read(t, regs::RasUncStatus::OFFSET)?),
            "correctable": names_set(def("RasCorStatus"), read(t, regs::RasCorStatus::OFFSET)?),
        },
    });
    match entry {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

/// A region is what a committed decoder maps.
fn decoders(t: &mut dyn Transport) -> Result<Vec<Value>> {
    let mut regions = Vec::new();
    // The count is coded: 0 is one decoder, 1 is two.
    let count = regs::HdmCap::COUNT_CODE.get(read(t, regs::HdmCap::OFFSET)?) + 1;
    for n in 0..count.min(regs::HDM_DECODERS as u32) {
        let at = |offset: u32| offset + n * regs::HDM_STRIDE;
        let control = read(t, at(regs::Hdm0Ctrl::OFFSET))?;
        if !regs::Hdm0Ctrl::COMMITTED.is_set(control) {
            continue;
        }
        regions.push(json!({
            "region": format!("region{n}"),
            "decoder": format!("decoder{n}"),
            "resource": read64(t, at(regs::Hdm0BaseLo::OFFSET), at(regs::Hdm0BaseHi::OFFSET))?,
            "size": read64(t, at(regs::Hdm0SizeLo::OFFSET), at(regs::Hdm0SizeHi::OFFSET))?,
            "type": if regs::Hdm0Ctrl::TARGET_TYPE.is_set(control) { "host-only" } else { "device-coherent" },
            "locked": regs::Hdm0Ctrl::LOCK.is_set(control),
            "state": "commit",
        }));
    }
    Ok(regions)
}

/// The counters by register name.
fn counters(t: &mut dyn Transport) -> Result<Map<String, Value>> {
    let range = regs::RxFlits::OFFSET..regs::CyclesLo::OFFSET;
    let of_link = regs::REGS.iter().filter(|r| range.contains(&r.offset));
    of_link
        .map(|r| Ok((r.name.to_string(), read(t, r.offset)?.into())))
        .collect()
}

fn def(name: &str) -> Option<&'static RegDef> {
    regs::REGS.iter().find(|r| r.name == name)
}

/// Names of the one-bit fields that are set, in small letters.
fn names_set(register: Option<&'static RegDef>, value: u32) -> Vec<String> {
    let fields = register.map_or(&[][..], |r| r.fields);
    fields
        .iter()
        .filter(|f| f.width == 1 && value >> f.lsb & 1 == 1)
        .map(|f| f.name.to_lowercase())
        .collect()
}

fn print_table(memdev: &Map<String, Value>) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    for (name, value) in memdev {
        table.add_row([name.clone(), human(name, value)]);
    }
    println!("{table}");
}

fn human(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) if name.contains("size") || name.ends_with("bytes") => n
            .as_u64()
            .map_or(n.to_string(), crate::bench::figures::size_name),
        Value::Number(n) if name == "resource" => {
            n.as_u64().map_or(n.to_string(), |n| format!("{n:#x}"))
        }
        Value::Array(items) if items.is_empty() => "none".to_string(),
        Value::Array(items) => items
            .iter()
            .map(|v| human("", v))
            .collect::<Vec<_>>()
            .join("\n"),
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| format!("{k} {}", human(k, v)))
            .collect::<Vec<_>>()
            .join("\n"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_by_name() {
        let ras = def("RasUncStatus");
        assert_eq!(
            names_set(ras, 1 << 9 | 1 << 11),
            ["reserved_encoding", "rx_overflow"]
        );
        assert!(names_set(ras, 0).is_empty());
        assert!(names_set(None, u32::MAX).is_empty());
    }

    #[test]
    fn people_see_units() {
        assert_eq!(human("ram_size", &json!(32 << 20)), "32MiB");
        assert_eq!(human("resource", &json!(0x1000)), "0x1000");
        assert_eq!(
            human("errors", &json!({"correctable": []})),
            "correctable none"
        );
    }
}
