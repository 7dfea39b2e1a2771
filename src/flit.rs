//! `cxlmem flit`: read flits by eye, write test vectors.

mod doc;
mod hex;
mod strict;
mod text;

use anyhow::{bail, Context, Result};
use clap::{Subcommand, ValueEnum};
use cxlmem_protocol::flit::{Direction, Flit};
use cxlmem_protocol::pack::{Extensions, Receiver};
use doc::FlitDoc;
use std::io::{IsTerminal, Read, Write};

/// Arguments of `cxlmem flit`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const DECODE_EXAMPLES: &str = "\
A flit is 66 bytes in hex: 64 bytes in wire order, then the CRC, low byte first. Spaces, line breaks, 0x and text after # are
ignored; several flits follow each other. Whether a flit is all data depends on what came before: give the whole stream, or say
with --rollover how many chunks are owed at its start. Errors tell of every broken rule: a bad CRC, reserved bits that are not zero,
formats of the extension BI-68, which only some links use, and what a receiver refuses.

With --json: one object for one flit, an array for several. An object has direction, kind (protocol, all-data, control), rollover,
crc, crc_ok, header, slots, messages (field names as in the reference; Address in bytes), lines (data that became complete) and
errors (rules that the flit breaks). `cxlmem flit encode` takes these objects.

Examples:
  cxlmem flit decode --direction m2s HEX              one flit, field by field
  cxlmem flit decode --direction s2m --json - < dump  many flits, for a program
  cxlmem flit decode --direction s2m --rollover 4 HEX the first flit is all data

Exit status: 0 if the input could be read as flits, whatever they hold; 1 if not.";

const ENCODE_EXAMPLES: &str = "\
Takes what `flit decode --json` prints, or less: header fields, formats and CRC that are not given are worked out. A \"crc\" is used
as it stands only where \"crc_ok\" is false, so a changed flit gets a good CRC.

Examples:
  cxlmem flit encode '{\"direction\":\"m2s\",\"messages\":[{\"slot\":0,\"message\":\"M2S Req\",\"MemOpcode\":\"MemRd\",\"Tag\":7,\"Address\":4096}]}'
  cxlmem flit encode '{\"direction\":\"m2s\",\"control\":{\"INIT.Param\":{\"Version\":2,\"LLRWrap\":9}}}'
  cxlmem flit decode --direction m2s --json HEX | cxlmem flit encode -";

#[derive(Subcommand)]
enum Command {
    /// Print 66-byte flits field by field, with their CRC checked
    #[command(after_long_help = DECODE_EXAMPLES, after_help = "Examples and the JSON's fields: --help")]
    Decode(Decode),
    /// Make flits from JSON
    #[command(after_long_help = ENCODE_EXAMPLES, after_help = "Examples: --help")]
    Encode(Encode),
}

#[derive(clap::Args)]
struct Decode {
    /// Which way the flits go: m2s is host to device
    #[arg(long, value_enum)]
    direction: Way,
    /// Data chunks owed at the start of the first flit; above 3 it is an all-data flit
    #[arg(long, value_name = "N", default_value_t = 0)]
    rollover: u8,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The flits in hex; - reads standard input
    #[arg(value_name = "HEX", allow_hyphen_values = true, required = true)]
    hex: Vec<String>,
}

#[derive(clap::Args)]
struct Encode {
    /// Which way the flits go, where the JSON does not say
    #[arg(long, value_enum)]
    direction: Option<Way>,
    /// One object or an array of objects; - reads standard input
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    json: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// Host to device
    M2s,
    /// Device to host
    S2m,
}

impl From<Way> for Direction {
    fn from(way: Way) -> Self {
        match way {
            Way::M2s => Direction::M2s,
            Way::S2m => Direction::S2m,
        }
    }
}

/// Runs `cxlmem flit`.
///
/// # Errors
/// If the input is not what it should be; the message says where and what to change.
pub fn run(args: Args) -> Result<()> {
    let text = match args.command {
        Command::Decode(args) => decode(&args)?,
        Command::Encode(args) => encode(&args)?,
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // A reader that has seen enough, such as `head`, is no error.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("writing the output")
        }
        _ => Ok(()),
    }
}

/// The argument, or standard input for `-`.
fn input(argument: &str, what: &str) -> Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        eprintln!("reading {what} from the terminal; end with Ctrl-D");
    }
    let mut text = String::new();
    stdin
        .read_to_string(&mut text)
        .context("reading standard input: it must be text")?;
    Ok(text)
}

fn decode(args: &Decode) -> Result<String> {
    let mut text = String::new();
    for argument in &args.hex {
        text += &input(argument, "hex")?;
        text.push('\n');
    }
    let docs = decode_flits(&hex::flits(&text)?, args.direction.into(), args.rollover);
    if args.json {
        let json = match docs.as_slice() {
            [one] => serde_json::to_string_pretty(one)?,
            many => serde_json::to_string_pretty(many)?,
        };
        return Ok(json + "\n");
    }
    Ok(docs
        .iter()
        .enumerate()
        .map(|(n, doc)| doc.to_text(n))
        .collect::<Vec<_>>()
        .join("\n"))
}

fn decode_flits(flits: &[Flit], direction: Direction, rollover: u8) -> Vec<FlitDoc> {
    // All extensions: this tool shows what is there; a link decides what it allows.
    let mut receiver = Receiver::new(
        direction,
        Extensions {
            bi68: true,
            multi_header: true,
        },
    );
    receiver.assume_rollover(rollover);
    flits
        .iter()
        .map(|flit| FlitDoc::decode(flit, direction, &mut receiver))
        .collect()
}

fn encode(args: &Encode) -> Result<String> {
    let text = input(&args.json, "JSON")?;
    let value = strict::parse(&text)
        .context("the input is not JSON: give an object as `cxlmem flit decode --json` prints it, or an array of them")?;
    let values = match value {
        serde_json::Value::Array(values) => values,
        one => vec![one],
    };
    if values.is_empty() {
        bail!("the array holds no flit: give at least one object");
    }
    let mut out = String::new();
    for (n, value) in values.into_iter().enumerate() {
        let mut doc: FlitDoc = serde_json::from_value(value).with_context(|| {
            format!("flit {n}: not a flit object; `cxlmem flit encode --help` has examples")
        })?;
        let option = args.direction.map(Direction::from);
        if let (Some(given), Some(option)) = (doc.direction, option) {
            if given != option {
                bail!(
                    "flit {n}: its \"direction\" is not that of --direction: leave one of them out"
                );
            }
        }
        doc.direction = doc.direction.or(option);
        let flit = doc.encode().with_context(|| format!("flit {n}"))?;
        out += &hex::print(&flit.to_bytes());
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
