//! What a tick costs on this machine: `cargo run --release -p pcie-sim --example throughput`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use pcie_sim::config::PcieEndpoint;
use pcie_sim::host::Options;
use pcie_sim::{
    Bdf, BeatDecoder, BeatEncoder, ConfigSpace, Function, HostMem, HostMemory, Packet, RootComplex,
    Tlp,
};

/// Repeats `work` for half a second and returns how often it ran.
fn rate(mut work: impl FnMut(u64)) -> f64 {
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < Duration::from_millis(500) {
        for _ in 0..1000 {
            work(done);
            done += 1;
        }
    }
    done as f64 / start.elapsed().as_secs_f64()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut root = RootComplex::new(Options::default())?;
    let mut mem = HostMemory::new(0, 1 << 24);
    let config = ConfigSpace::builder(0x1AF4, 1, 0x05_0210).bar64(0, 0x1_0000, true);
    let mut function = Function::new(config.pcie_endpoint(PcieEndpoint::default()).build()?);
    let (mut encoder, mut decoder) = (BeatEncoder::new(), BeatDecoder::new());

    let idle = rate(|now| {
        if let Some(packet) = root.tick(now, &mut mem, function.send_host()) {
            function.receive_host(packet);
        }
        black_box((
            function.bus_master(),
            function.bdf(),
            function.msix_enabled(),
            function.msix_masked(),
        ));
        black_box((function.send_device(), encoder.peek()));
    });
    println!(
        "idle ticks (root, function, encoder, pins)    {:8.1} M/s",
        idle / 1e6
    );

    let me = Bdf::new(1, 0, 0);
    let read = Tlp::mem_read(me, 0, 0x1000, 128)?.encode();
    let reads = rate(|now| {
        let mut answer = root.tick(now, &mut mem, Some(read.clone()));
        while let Some(packet) = answer.take() {
            if encoder.start(packet).is_ok() {
                while let Some(beat) = encoder.peek() {
                    encoder.advance();
                    black_box(decoder.push(beat));
                }
            }
        }
    });
    println!(
        "128-byte DMA reads, through beats both ways   {:8.1} M/s",
        reads / 1e6
    );

    let write: Packet = Tlp::mem_write(me, 0x2000, &[7; 128])?.encode();
    let writes = rate(|now| root.receive(now, &mut mem, write.clone()));
    println!(
        "128-byte DMA writes                           {:8.1} M/s",
        writes / 1e6
    );

    let mut page = [0; 4096];
    let pages = rate(|n| {
        let _inside = mem.read(n % 4096 * 4096, &mut page);
        black_box(&page);
    });
    println!(
        "4 KiB pages read from host memory             {:8.1} GB/s",
        pages * 4096.0 / 1e9
    );
    Ok(())
}
