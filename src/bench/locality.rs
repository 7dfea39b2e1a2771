//! Why pages migrate: the engine's sum and pointer chase over the same data, in host memory and on the device.

use anyhow::{ensure, Context, Result};
use cxlmem_driver::{Device, HostBuffer, OpResult, Operand};
use cxlmem_sim::rng::Rng;

use super::figures;
use super::migrate::{runs, sum64};
use super::Bench;

/// Bytes of a line.
const LINE: usize = 64;

/// Measures.
pub fn run(b: &mut Bench) -> Result<()> {
    if !b.config.engine {
        let why = format!("configuration {} has no engine", b.config.name);
        for place in ["host", "device"] {
            b.figures.add_not_run(&figures::LOCAL_SUM, &[place], &why);
            b.figures.add_not_run(&figures::LOCAL_CHASE, &[place], &why);
        }
        return Ok(());
    }
    let (bytes, hops) = match (&b.board, b.quick) {
        // Every hop through host memory goes over the line and back.
        (Some(_), true) => (4 << 10, 16),
        (Some(_), false) => (16 << 10, 256),
        (None, true) => (16 << 10, 256),
        (None, false) => (256 << 10, 2048),
    };
    let bytes = bytes.min(b.config.capacity() as usize / 2);
    let device = b.device(bytes + (4 << 20))?;
    let bar = b.progress.bar(4, "locality");
    let (data, last) = linked(bytes, hops, &mut b.rng(2));
    let buffer = device
        .alloc_host(bytes)
        .context("no host memory for the operand")?;
    buffer.write(0, &data).context("cannot fill the operand")?;
    let at_host = measure(&device, buffer.operand(), hops, &data, last)?;
    bar.add(2);
    let _ = device
        .migrate_to_device(&buffer.pages())
        .complete()
        .context("the operand did not move to the device")?;
    let on_device = measure(&device, moved(&device, &buffer)?, hops, &data, last)?;
    bar.add(2);
    drop(bar);
    for (place, (sum, chase)) in [("host", at_host), ("device", on_device)] {
        b.figures
            .add(&figures::LOCAL_SUM, &[place], sum.cycles as f64);
        b.figures.add(
            &figures::LOCAL_CHASE,
            &[place],
            chase.cycles as f64 / f64::from(hops),
        );
    }
    b.figures.add(
        &figures::LOCAL_SUM_GAIN,
        &[],
        at_host.0.cycles as f64 / on_device.0.cycles as f64,
    );
    b.figures.add(
        &figures::LOCAL_CHASE_GAIN,
        &[],
        at_host.1.cycles as f64 / on_device.1.cycles as f64,
    );
    let latency = cxlmem_sim::pcie::IoOptions::default().read_latency;
    let size = figures::size_name(bytes as u64);
    b.note(match &b.board {
        Some(_) => format!(
            "locality: operand of {size}, {hops} hops; the engine reads host memory over the line"
        ),
        None => format!("locality: operand of {size}, {hops} hops; the simulated host answers a DMA read after {latency} cycles, a choice that decides the gains"),
    });
    device.close().context("the device did not close")
}

/// The operand of a migrated buffer, which a chase needs in one piece.
fn moved(device: &Device, buffer: &HostBuffer) -> Result<Operand> {
    let runs = runs(device, buffer)?;
    ensure!(
        runs.len() == 1,
        "the operand lies on the device in {} pieces, a chase needs one",
        runs.len()
    );
    Ok(runs[0].0)
}

/// Sum and chase, checked against the host's own.
fn measure(
    device: &Device,
    operand: Operand,
    hops: u32,
    data: &[u8],
    last: u64,
) -> Result<(OpResult, OpResult)> {
    let sum = device.sum64(operand).context("the engine's sum failed")?;
    ensure!(
        sum.value == sum64(data),
        "the engine's sum is {:#x}, the host's {:#x}",
        sum.value,
        sum64(data)
    );
    let chase = device
        .chase(operand, hops)
        .context("the engine's chase failed")?;
    ensure!(
        chase.value == last,
        "the engine's chase ended at {:#x}, the host's at {last:#x}",
        chase.value
    );
    Ok((sum, chase))
}

/// Lines linked into one random cycle by their offsets, random data beside the links, and the pointer read by hop number `hops`.
fn linked(bytes: usize, hops: u32, rng: &mut Rng) -> (Vec<u8>, u64) {
    let lines = bytes / LINE;
    let mut order: Vec<usize> = (0..lines).collect();
    for n in (1..lines).rev() {
        order.swap(n, rng.below(n as u64) as usize);
    }
    let mut data = Vec::with_capacity(bytes);
    for next in &order {
        let mut line = rng.line();
        line[..8].copy_from_slice(&((next * LINE) as u64).to_le_bytes());
        data.extend_from_slice(&line);
    }
    let last = (0..hops).fold(0, |at, _| order.get(at).copied().unwrap_or(0));
    (data, (last * LINE) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cycle_visits_every_line() {
        for lines in [2usize, 5, 64] {
            let rng = || Rng::new(lines as u64);
            let ends: std::collections::BTreeSet<u64> = (1..=lines as u32)
                .map(|hops| linked(lines * LINE, hops, &mut rng()).1)
                .collect();
            assert_eq!(ends.len(), lines);
            assert_eq!(
                linked(lines * LINE, lines as u32, &mut rng()).1,
                0,
                "back at the start"
            );
        }
    }
}
