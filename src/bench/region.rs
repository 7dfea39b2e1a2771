//! Ordinary code on a plain slice of device memory, while its pages move to the host and back.

use std::sync::Arc;

use anyhow::{ensure, Context, Result};
use cxlmem_driver::{CoherentRegion, Device, Side};

use super::figures;
use super::Bench;

/// Bytes of the region.
const REGION: usize = 64 << 10;

/// Fills, adds up and sorts a region with the file's first bytes; a wrong result is the error.
pub fn run(b: &mut Bench, device: &Arc<Device>, data: &[u8]) -> Result<()> {
    let bytes = REGION.min(data.len()).min(b.config.capacity() as usize / 2);
    let mut region = match CoherentRegion::new(device, bytes) {
        Ok(region) => region,
        Err(error @ cxlmem_driver::Error::Userfaultfd { .. }) => {
            b.figures
                .add_not_run(&figures::REGION_INTACT, &[], &error.to_string());
            return Ok(());
        }
        Err(error) => return Err(anyhow::Error::new(error).context("no coherent region")),
    };
    let result = check(&mut region, &data[..bytes]);
    let closed = region.close().context("the region did not close").map(drop);
    let result = result.and(closed);
    b.figures.add(
        &figures::REGION_INTACT,
        &[],
        f64::from(u8::from(result.is_ok())),
    );
    result
}

fn check(region: &mut CoherentRegion, data: &[u8]) -> Result<()> {
    let all = 0..region.bytes();
    let sum = |bytes: &[u8]| bytes.iter().map(|b| u64::from(*b)).sum::<u64>();
    let mut sorted = data.to_vec();
    sorted.sort_unstable();
    region.as_mut_slice()[..data.len()].copy_from_slice(data);
    ensure!(
        sum(region.as_slice()) == sum(data),
        "a plain slice of device memory does not add up"
    );
    moved(region, all.clone(), Side::Host)?;
    ensure!(
        region.as_slice()[..data.len()] == *data,
        "the slice changed when its pages moved to the host"
    );
    region.as_mut_slice()[..data.len()].sort_unstable();
    moved(region, all, Side::Device)?;
    ensure!(
        region.as_slice()[..data.len()] == sorted,
        "the sorted slice changed when its pages moved to the device"
    );
    Ok(())
}

fn moved(region: &CoherentRegion, range: std::ops::Range<usize>, to: Side) -> Result<()> {
    let moved = region
        .migrate(range, to)
        .context("the region's pages did not move")?;
    let _ = moved
        .complete()
        .context("pages of the region did not move")?;
    for page in 0..region.pages() {
        let side = region.residency(page)?.side();
        ensure!(
            side == to,
            "page {page} of the region is on the {side:?} side, not {to:?}"
        );
    }
    Ok(())
}
