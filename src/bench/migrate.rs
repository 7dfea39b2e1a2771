//! Migration of a real file's pages through the real driver, verified at every step.
//!
//! A figure counts only if the pages moved: the driver's per-page results, the residency of each page, the driver's and the device's own counters and
//! the lower bound on the time must all agree. While the pages are on the device, their host copies are overwritten, so that what comes back can only come
//! from the device.

use std::sync::Arc;

use anyhow::{bail, ensure, Context, Result};
use cxlmem_driver::{Device, HostBuffer, Migration, Operand, PageResult};
use cxlmem_hdl::Config;
use cxlmem_protocol::regs;
use sha2::{Digest, Sha256};

use super::figures::{self, size_name};
use super::region;
use super::source::{self, Source, PAGE};
use super::Bench;
use crate::cli::usage;

/// Sizes of a full run, bytes.
const SIZES: &[u64] = &[
    4 << 10,
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
    4 << 20,
    16 << 20,
];
/// Sizes of a quick run, bytes.
const QUICK_SIZES: &[u64] = &[4 << 10, 64 << 10, 256 << 10];
/// Payload of a TLP: the maximum payload and the maximum read request of the pins (interfaces 1).
pub const TLP_PAYLOAD: u64 = 128;
/// Bytes of a beat, on the TLP stream and at the memory port.
const BEAT: u64 = 16;
/// Pages whose CRC-32C the engine computes, at most, for each size: at 4 bytes a cycle it is the slowest check. Every page is in the sum.
const CRC_PAGES: usize = 64;
/// Pages in one call of the driver, which is what its own commands hold.
const CHUNK: usize = 512;
/// Least size on which the engine's share is judged: below, start and end of the commands weigh in it.
const STEADY: u64 = 256 << 10;
/// Direction in ids.
pub const TO_DEVICE: &str = "to_device";
/// Direction in ids.
pub const TO_HOST: &str = "to_host";

/// Bytes a cycle at which a copy cannot be exceeded: a header beat goes with every payload on the TLP stream; the memory port takes a beat a cycle.
pub fn bound() -> f64 {
    let beats = TLP_PAYLOAD / BEAT;
    BEAT as f64 * (beats as f64 / (beats + 1) as f64).min(1.0)
}

/// The most bytes to migrate at once.
///
/// # Errors
/// More than the configuration's memory.
pub fn limit(config: &Config, asked: Option<u64>, quick: bool) -> Result<u64> {
    let sizes = if quick { QUICK_SIZES } else { SIZES };
    let capacity = config.capacity();
    match asked {
        Some(bytes) if bytes > capacity => {
            let larger = Config::all()
                .iter()
                .filter(|c| c.engine && c.capacity() >= bytes)
                .map(|c| c.name)
                .collect::<Vec<_>>();
            let other = if larger.is_empty() {
                String::new()
            } else {
                format!(", or --config {}", larger.join(" or "))
            };
            usage!(
                "--size {} is more than the memory of configuration {} ({}): use --size {}{other}",
                size_name(bytes),
                config.name,
                size_name(capacity),
                size_name(capacity)
            )
        }
        Some(bytes) => Ok(bytes),
        None => Ok(sizes.iter().copied().max().unwrap_or(PAGE).min(capacity)),
    }
}

/// Measures; the inner result is the verdict on the data, which must not keep the other figures from being reported.
pub fn run(b: &mut Bench, file: &Source, limit: u64) -> Result<Result<()>> {
    if !b.config.engine {
        let why = format!("configuration {} has no engine", b.config.name);
        for kind in [
            &figures::MIGRATE_INTACT,
            &figures::REGION_INTACT,
            &figures::ENGINE_COPY,
        ] {
            b.figures.add_not_run(kind, &[], &why);
        }
        return Ok(Ok(()));
    }
    b.note(format!("migrated file: {}", file.describe()));
    let wanted = wanted(b, limit);
    let sizes = source::sizes(&wanted, file.data.len() as u64);
    for missing in wanted.iter().filter(|s| !sizes.contains(s)) {
        for way in [TO_DEVICE, TO_HOST] {
            b.figures.add_not_run(
                &figures::MIGRATE_PAGES,
                &[way, &size_name(*missing)],
                "the file is shorter",
            );
        }
    }
    let largest = sizes.iter().copied().max().unwrap_or(PAGE);
    let device = b.device(largest as usize + (4 << 20))?;
    let bar = b.progress.bar(
        sizes.iter().map(|s| 2 * s.div_ceil(PAGE)).sum(),
        "migrating",
    );
    let mut verdict = Ok(());
    let mut shares = Vec::new();
    for size in sizes {
        bar.say(format!("migrating {}", size_name(size)));
        let mut trip = Trip::new(b, &device, &file.data, size)?;
        let result = trip.run(b, |pages| bar.add(pages));
        match result {
            Ok(share) => shares.push((size, share)),
            Err(e) => {
                verdict = Err(e.context(format!("migration of {} failed", size_name(size))));
                break;
            }
        }
    }
    drop(bar);
    if let Some((size, share)) = shares.last() {
        let kind = &figures::ENGINE_COPY;
        let target = kind.target.filter(|_| *size >= STEADY);
        b.figures.add_judged(kind, &[], *share, target);
        b.note(match target {
            Some(_) => format!("{} is that of {}", kind.id, size_name(*size)),
            None => format!(
                "{} is that of {} and not judged: {} or more are needed for a steady state",
                kind.id,
                size_name(*size),
                size_name(STEADY)
            ),
        });
    }
    b.figures
        .add(&figures::ENGINE_COPY_PAYLOAD, &[], TLP_PAYLOAD as f64);
    b.figures.add(&figures::ENGINE_COPY_BOUND, &[], bound());
    if verdict.is_ok() {
        verdict = region::run(b, &device, &file.data);
    }
    if verdict.is_ok() {
        verdict = device.close().context("the device did not close");
    }
    b.figures.add(
        &figures::MIGRATE_INTACT,
        &[],
        f64::from(u8::from(verdict.is_ok())),
    );
    Ok(verdict)
}

/// Sizes to measure, up to the limit and with it.
pub fn wanted(b: &Bench, limit: u64) -> Vec<u64> {
    let offered = if b.quick { QUICK_SIZES } else { SIZES };
    let mut wanted: Vec<u64> = offered.iter().copied().filter(|s| *s <= limit).collect();
    let last = limit.next_multiple_of(PAGE).min(b.config.capacity());
    if !wanted.contains(&last) {
        wanted.push(last);
    }
    wanted
}

/// One size, there and back.
struct Trip<'a> {
    device: &'a Arc<Device>,
    buffer: HostBuffer,
    content: Vec<u8>,
    size: u64,
    /// Pages whose CRC the engine computes.
    sampled: Vec<usize>,
}

impl<'a> Trip<'a> {
    fn new(b: &Bench, device: &'a Arc<Device>, data: &[u8], size: u64) -> Result<Trip<'a>> {
        let pages = size.div_ceil(PAGE) as usize;
        let mut content = data[..data.len().min(size as usize)].to_vec();
        // The end of a file's last page is zero, as when it is mapped.
        content.resize(pages * PAGE as usize, 0);
        let buffer = device
            .alloc_host(content.len())
            .context("no host memory for the file")?;
        buffer
            .write(0, &content)
            .context("cannot put the file into host memory")?;
        let mut rng = b.rng(size);
        let sampled = match pages <= CRC_PAGES {
            true => (0..pages).collect(),
            false => (0..CRC_PAGES)
                .map(|_| rng.below(pages as u64) as usize)
                .collect(),
        };
        Ok(Trip {
            device,
            buffer,
            content,
            size,
            sampled,
        })
    }

    /// Returns the engine's share of its bound, the slower direction's.
    fn run(&mut self, b: &mut Bench, step: impl Fn(u64)) -> Result<f64> {
        let before = self.host_hash()?;
        ensure!(
            before == hash(&self.content),
            "the file is not in host memory as it was read"
        );
        let there = self.moved(TO_DEVICE, &step)?;
        self.check_on_device()?;
        self.overwrite_host()?;
        let back = self.moved(TO_HOST, &step)?;
        self.check_at_home()?;
        let after = self.host_hash()?;
        ensure!(
            after == before,
            "SHA-256 before {} and after {} differ",
            hex(&before),
            hex(&after)
        );
        let name = size_name(self.size);
        let pages = self.content.len() as f64 / PAGE as f64;
        let mut slower = f64::INFINITY;
        for (way, moved) in [(TO_DEVICE, &there), (TO_HOST, &back)] {
            let (cycles, engine) = (moved.device_cycles as f64, moved.engine_cycles as f64);
            let share = self.content.len() as f64 / engine / bound();
            // Copies faster than the wires would be copies that did not happen.
            ensure!(share <= 1.0, "{way}: {} bytes in {engine} engine cycles is more than the bound of {:.2} bytes a cycle", self.content.len(), bound());
            b.figures.add(
                &figures::MIGRATE_PAGES,
                &[way, &name],
                pages * b.clock_hz() / cycles,
            );
            b.figures
                .add(&figures::MIGRATE_CYCLES, &[way, &name], cycles / pages);
            b.figures.add(&figures::MIGRATE_SHARE, &[way, &name], share);
            slower = slower.min(share);
        }
        Ok(slower)
    }

    /// Moves all pages and checks what the driver and the device say of it.
    fn moved(&self, way: &str, step: &impl Fn(u64)) -> Result<Migration> {
        let pages = self.buffer.pages();
        let (commands, stats) = (self.commands()?, self.device.stats());
        let mut all = Migration::default();
        for part in pages.chunks(CHUNK) {
            let next = if way == TO_DEVICE {
                self.device.migrate_to_device(part)
            } else {
                self.device.migrate_to_host(part)
            };
            all.pages.extend(&next.pages);
            all.engine_cycles += next.engine_cycles;
            all.device_cycles += next.device_cycles;
            if let Some(error) = next.error {
                return Err(anyhow::Error::new(error).context(format!("{way}: the device failed")));
            }
            step(part.len() as u64);
        }
        if let Some(n) = all.pages.iter().position(|p| *p != PageResult::Moved) {
            bail!("{way}: page {n} of {}: {}", pages.len(), all.pages[n]);
        }
        let resident = pages
            .iter()
            .filter(|p| self.device.device_address(**p).is_some())
            .count();
        let expected = if way == TO_DEVICE { pages.len() } else { 0 };
        ensure!(
            resident == expected,
            "{way}: {resident} pages are on the device, not {expected}"
        );
        let now = self.device.stats();
        let counted = match way {
            TO_DEVICE => now.pages_to_device - stats.pages_to_device,
            _ => now.pages_to_host - stats.pages_to_host,
        };
        ensure!(
            counted == pages.len() as u64,
            "{way}: the driver counted {counted} pages, not {}",
            pages.len()
        );
        ensure!(
            now.page_errors == stats.page_errors,
            "{way}: the driver counted {} page errors",
            now.page_errors - stats.page_errors
        );
        let records = self.commands()?.wrapping_sub(commands);
        let least = pages.len().div_ceil(CHUNK) as u32;
        ensure!(records >= least, "{way}: the engine wrote {records} completion records, fewer than the {least} commands that the pages need");
        Ok(all)
    }

    /// Completion records that the engine has written.
    fn commands(&self) -> Result<u32> {
        self.device
            .with_transport(|t| t.mmio_read32(regs::EngDone::OFFSET))
            .context("cannot read the engine's counter")
    }

    fn host_hash(&self) -> Result<[u8; 32]> {
        let mut content = vec![0; self.content.len()];
        self.buffer
            .read(0, &mut content)
            .context("cannot read host memory")?;
        Ok(hash(&content))
    }

    /// The engine's sum over all pages, and its CRC-32C of the sampled ones, where they are now.
    fn check_on_device(&self) -> Result<()> {
        let pages = self.buffer.pages();
        let place = |n: usize| {
            self.device
                .device_address(pages[n])
                .context("a page is not on the device")
        };
        let mut sum = 0u64;
        for (operand, _) in runs(self.device, &self.buffer)? {
            sum = sum.wrapping_add(
                self.device
                    .sum64(operand)
                    .context("the engine's sum failed")?
                    .value,
            );
        }
        ensure!(
            sum == sum64(&self.content),
            "the engine's sum on the device is {sum:#018x}, the host's {:#018x}",
            sum64(&self.content)
        );
        for &n in &self.sampled {
            let operand = Operand::Device {
                dpa: place(n)?,
                bytes: PAGE,
            };
            let found = self
                .device
                .crc32c(operand, 0)
                .context("the engine's CRC-32C failed")?
                .value;
            let expected = u64::from(crc32c(
                0,
                &self.content[n * PAGE as usize..][..PAGE as usize],
            ));
            ensure!(
                found == expected,
                "page {n}: CRC-32C on the device is {found:#010x}, the host's {expected:#010x}"
            );
        }
        Ok(())
    }

    /// Overwrites the pages' old places in host memory, past the driver (which would refuse).
    fn overwrite_host(&self) -> Result<()> {
        let inverse: Vec<u8> = self.content.iter().map(|b| !b).collect();
        self.device
            .with_transport(|t| t.dma_write(self.buffer.bus(), &inverse))
            .context("cannot overwrite host memory")
    }

    /// Byte for byte, with the first difference named.
    fn check_at_home(&self) -> Result<()> {
        let mut found = vec![0; self.content.len()];
        self.buffer
            .read(0, &mut found)
            .context("cannot read host memory")?;
        if let Some(n) = found.iter().zip(&self.content).position(|(f, c)| f != c) {
            bail!(
                "byte {n} (page {}) came back as {:#04x}, it was {:#04x}",
                n as u64 / PAGE,
                found[n],
                self.content[n]
            );
        }
        Ok(())
    }
}

/// Migrated pages of a buffer as stretches that are contiguous on the device, and the first page of each.
pub fn runs(device: &Device, buffer: &HostBuffer) -> Result<Vec<(Operand, usize)>> {
    let mut runs: Vec<(u64, u64, usize)> = Vec::new();
    for (n, page) in buffer.pages().into_iter().enumerate() {
        let at = device
            .device_address(page)
            .with_context(|| format!("page {n} is not on the device"))?;
        match runs.last_mut() {
            Some((start, bytes, _)) if *start + *bytes == at => *bytes += PAGE,
            _ => runs.push((at, PAGE, n)),
        }
    }
    Ok(runs
        .into_iter()
        .map(|(dpa, bytes, first)| (Operand::Device { dpa, bytes }, first))
        .collect())
}

fn hash(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// CRC-32C (Castagnoli, reflected, inverted in and out), going on from `crc`, as the engine's.
pub fn crc32c(crc: u32, data: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
    !data
        .iter()
        .fold(!crc, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

/// Wrapping sum of little-endian u64, as the engine's.
pub fn sum64(data: &[u8]) -> u64 {
    let word = |c: &[u8]| c.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
    data.chunks(8).map(word).fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trip of two pages on a small device.
    fn trip<'a>(device: &'a Arc<Device>, bench: &Bench) -> Trip<'a> {
        let data: Vec<u8> = (0..2 * PAGE).map(|n| (n % 251) as u8).collect();
        Trip::new(bench, device, &data, 2 * PAGE).unwrap()
    }

    fn small() -> Bench {
        Bench::for_test("small")
    }

    #[test]
    fn a_round_trip_holds() {
        let mut b = small();
        let device = b.device(1 << 20).unwrap();
        let share = trip(&device, &b).run(&mut b, |_| {}).unwrap();
        assert!(share > 0.0 && share <= 1.0, "{share}");
    }

    #[test]
    fn a_migration_that_moves_nothing_is_caught() {
        let b = small();
        let device = b.device(1 << 20).unwrap();
        let t = trip(&device, &b);
        let _ = t.moved(TO_DEVICE, &|_| {}).unwrap();
        let again = t.moved(TO_DEVICE, &|_| {}).unwrap_err().to_string();
        assert!(again.contains("was there already"), "{again}");
        let _ = t.moved(TO_HOST, &|_| {}).unwrap();
        let again = t.moved(TO_HOST, &|_| {}).unwrap_err().to_string();
        assert!(again.contains("page 0 of 2"), "{again}");
        // Pages that never left: what is at home is what was overwritten.
        t.overwrite_host().unwrap();
        let stale = t.check_at_home().unwrap_err().to_string();
        assert!(stale.contains("byte 0"), "{stale}");
    }

    #[test]
    fn a_page_that_changes_on_the_device_is_caught() {
        let b = small();
        let device = b.device(1 << 20).unwrap();
        let t = trip(&device, &b);
        let _ = t.moved(TO_DEVICE, &|_| {}).unwrap();
        t.check_on_device().unwrap();
        let dpa = device.device_address(t.buffer.pages()[1]).unwrap();
        let last_line = Operand::Device {
            dpa: dpa + PAGE - 64,
            bytes: 64,
        };
        device.fill(last_line, 0).unwrap();
        let e = t.check_on_device().unwrap_err().to_string();
        assert!(e.contains("sum on the device"), "{e}");
        t.overwrite_host().unwrap();
        let _ = t.moved(TO_HOST, &|_| {}).unwrap();
        let e = t.check_at_home().unwrap_err().to_string();
        assert!(
            e.contains("page 1") && e.contains("came back as 0x00"),
            "{e}"
        );
    }

    #[test]
    fn a_copy_is_bound_by_the_header_beat() {
        assert!((bound() - 16.0 * 8.0 / 9.0).abs() < 1e-12);
    }

    #[test]
    fn sizes_beyond_the_memory_are_refused() {
        let small = Config::by_name("small").unwrap();
        assert_eq!(limit(small, None, false).unwrap(), small.capacity());
        assert_eq!(limit(small, Some(8192), false).unwrap(), 8192);
        let e = limit(small, Some(1 << 20), false).unwrap_err().to_string();
        assert!(
            e.contains("--size 1MiB") && e.contains("32KiB") && e.contains("--config sim"),
            "{e}"
        );
    }

    #[test]
    fn crc_of_the_catalogue() {
        assert_eq!(crc32c(0, b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xE306_9283);
    }

    #[test]
    fn sums_wrap_as_the_engine_does() {
        let mut data = vec![0xFF; 16];
        assert_eq!(sum64(&data), u64::MAX.wrapping_add(u64::MAX));
        data[0] = 1;
        assert_eq!(sum64(&data[..8]), 0xFFFF_FFFF_FFFF_FF01);
    }
}
