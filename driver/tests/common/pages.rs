//! Host buffers with known content.

use super::PAGE;
use cxlmem_driver::PageResult;
use cxlmem_protocol::engine::Status;

pub fn pattern(n: usize) -> Vec<u8> {
    (0..PAGE)
        .map(|i| (i as u8).wrapping_mul(7).wrapping_add(n as u8))
        .collect()
}

/// A host buffer whose pages hold their patterns.
pub fn filled(
    device: &std::sync::Arc<cxlmem_driver::Device>,
    pages: usize,
) -> cxlmem_driver::HostBuffer {
    let buffer = device.alloc_host(pages * PAGE).unwrap();
    for n in 0..pages {
        buffer.write((n * PAGE) as u64, &pattern(n)).unwrap();
    }
    buffer
}

pub fn assert_intact(buffer: &cxlmem_driver::HostBuffer, except: &[usize]) {
    let mut page = vec![0; PAGE];
    for n in (0..buffer.pages().len()).filter(|n| !except.contains(n)) {
        buffer.read((n * PAGE) as u64, &mut page).unwrap();
        assert_eq!(page, pattern(n), "page {n}");
    }
}

pub fn failed(status: Status) -> PageResult {
    PageResult::Failed { code: status as u8 }
}
