//! What device memory must hold, as far as the host knows it: each read is compared with this.

pub use cxlmem_protocol::pack::Line;

/// Bytes of a line.
pub const LINE: u64 = 64;

const PAGE_LINES: usize = 64;

/// What is known of one page of 64 lines.
struct Page {
    data: [Line; PAGE_LINES],
    /// One bit a line: `data` and `poison` are known.
    known: u64,
    poison: u64,
    meta_known: u64,
    meta: [u8; PAGE_LINES],
}

/// Golden memory over a range of addresses. A line is unknown until the host has written or read it: memory has no defined content at power-on, and the device's
/// own engine may write what it owns.
pub struct Golden {
    base: u64,
    pages: Vec<Option<Box<Page>>>,
}

/// What a read must return, as far as known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Content and poison.
    pub line: Option<(Line, bool)>,
    /// Meta0.
    pub meta: Option<u8>,
}

impl Golden {
    /// Nothing known about `bytes` bytes from address `base`.
    pub fn new(base: u64, bytes: u64) -> Self {
        let pages = bytes.div_ceil(LINE * PAGE_LINES as u64) as usize;
        Self {
            base,
            pages: std::iter::repeat_with(|| None).take(pages).collect(),
        }
    }

    /// True if the address is in the range.
    pub fn covers(&self, address: u64) -> bool {
        address >= self.base
            && (address - self.base) / (LINE * PAGE_LINES as u64) < self.pages.len() as u64
    }

    fn place(&self, address: u64) -> Option<(usize, usize)> {
        let line = address.checked_sub(self.base)? / LINE;
        let page = (line / PAGE_LINES as u64) as usize;
        (page < self.pages.len()).then_some((page, (line % PAGE_LINES as u64) as usize))
    }

    fn page(&mut self, address: u64) -> Option<(&mut Page, usize)> {
        let (page, line) = self.place(address)?;
        let slot = &mut self.pages[page];
        let page = slot.get_or_insert_with(|| {
            Box::new(Page {
                data: [[0; 64]; PAGE_LINES],
                known: 0,
                poison: 0,
                meta_known: 0,
                meta: [0; PAGE_LINES],
            })
        });
        Some((page, line))
    }

    /// What the line at this address must hold.
    pub fn expected(&self, address: u64) -> Expected {
        let Some((page, line)) = self.place(address) else {
            return Expected::default();
        };
        let Some(page) = &self.pages[page] else {
            return Expected::default();
        };
        let bit = |mask: u64| mask >> line & 1 != 0;
        Expected {
            line: bit(page.known).then(|| (page.data[line], bit(page.poison))),
            meta: bit(page.meta_known).then(|| page.meta[line]),
        }
    }

    /// The line now holds `data`.
    pub fn set(&mut self, address: u64, data: &Line, poison: bool) {
        if let Some((page, line)) = self.page(address) {
            page.data[line] = *data;
            page.known |= 1 << line;
            page.poison = (page.poison & !(1 << line)) | u64::from(poison) << line;
        }
    }

    /// The bytes of `data` whose enable is set replace those of the line. A poisoned line stays poisoned unless all are (cxl-mem 5.3).
    pub fn merge(&mut self, address: u64, data: &Line, enables: u64, poison: bool) {
        if enables == u64::MAX {
            return self.set(address, data, poison);
        }
        if let Some((mut line, was_poisoned)) = self.expected(address).line {
            for (n, byte) in data.iter().enumerate() {
                if enables >> n & 1 != 0 {
                    line[n] = *byte;
                }
            }
            self.set(address, &line, poison || was_poisoned);
        }
    }

    /// The line's Meta0 is now `meta`.
    pub fn set_meta(&mut self, address: u64, meta: u8) {
        if let Some((page, line)) = self.page(address) {
            page.meta[line] = meta;
            page.meta_known |= 1 << line;
        }
    }

    /// From now on the content of these lines is unknown: somebody else may write them. Costs nothing for pages never touched.
    pub fn forget(&mut self, address: u64, bytes: u64) {
        let mut at = address & !(LINE - 1);
        while at < address.saturating_add(bytes) {
            if let Some((page, line)) = self.place(at) {
                if let Some(page) = &mut self.pages[page] {
                    page.known &= !(1 << line);
                    page.meta_known &= !(1 << line);
                }
            }
            at += LINE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_unknown_until_written() {
        let mut g = Golden::new(0x1000, 0x2000);
        assert_eq!(g.expected(0x1040), Expected::default());
        g.merge(0x1040, &[9; 64], 0xF, false);
        assert_eq!(
            g.expected(0x1040).line,
            None,
            "a partial write of an unknown line leaves it unknown"
        );
        g.set(0x1040, &[1; 64], true);
        g.merge(0x1040, &[2; 64], 0b101, false);
        let (line, poison) = g.expected(0x1040).line.unwrap();
        assert!(poison && line[..4] == [2, 1, 2, 1]);
        g.merge(0x1040, &[3; 64], u64::MAX, false);
        assert_eq!(g.expected(0x1040).line, Some(([3; 64], false)));
        g.set_meta(0x1040, 2);
        assert_eq!(g.expected(0x1040).meta, Some(2));
        g.forget(0x1000, 0x1000);
        assert_eq!(g.expected(0x1040), Expected::default());
    }

    #[test]
    fn addresses_outside_are_ignored() {
        let mut g = Golden::new(0x1000, 0x1000);
        for a in [0, 0xFC0, 0x2000, u64::MAX] {
            g.set(a, &[1; 64], false);
            assert_eq!(g.expected(a), Expected::default());
            assert!(!g.covers(a));
        }
        g.forget(0, 0x10000);
        assert!(g.covers(0x1FC0));
    }
}
