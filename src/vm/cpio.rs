//! Writes an initramfs: a cpio archive in the `newc` form that Linux unpacks.

/// An archive in the making.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

impl Archive {
    /// A folder.
    pub fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER | 0o755, (0, 0), &[]);
    }

    /// A file.
    pub fn file(&mut self, name: &str, is_program: bool, content: &[u8]) {
        let mode = if is_program { 0o755 } else { 0o644 };
        self.entry(name, FILE | mode, (0, 0), content);
    }

    /// A symbolic link.
    pub fn link(&mut self, name: &str, to: &str) {
        self.entry(name, LINK | 0o777, (0, 0), to.as_bytes());
    }

    /// A character device.
    pub fn device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, CHARACTER | 0o600, (major, minor), &[]);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        // Inode, mode, uid, gid, links, time, size, the file system's device, this device, length of the name, checksum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            content.len() as u32,
            0,
            0,
            major,
            minor,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_alignment() {
        let mut archive = Archive::default();
        archive.folder("d");
        archive.file("d/abc", true, b"12345");
        archive.device("c", 5, 1);
        archive.link("l", "d/abc");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let (mut at, mut seen) = (0, Vec::new());
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |i: usize| {
                let text = std::str::from_utf8(&bytes[at + 6 + 8 * i..at + 14 + 8 * i]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, major, minor, name_size) =
                (field(1), field(6), field(9), field(10), field(11));
            let name = std::str::from_utf8(&bytes[at + 110..at + 110 + name_size - 1]).unwrap();
            let content = (at + 110 + name_size).next_multiple_of(4);
            seen.push((
                name.to_string(),
                mode,
                (major, minor),
                bytes[content..content + size].to_vec(),
            ));
            at = (content + size).next_multiple_of(4);
        }
        let seen: Vec<_> = seen
            .iter()
            .map(|(n, m, d, c)| (n.as_str(), *m, *d, c.as_slice()))
            .collect();
        assert_eq!(
            seen,
            [
                ("d", 0o40755, (0, 0), b"".as_slice()),
                ("d/abc", 0o100755, (0, 0), b"12345"),
                ("c", 0o20600, (5, 1), b""),
                ("l", 0o120777, (0, 0), b"d/abc"),
                ("TRAILER!!!", 0, (0, 0), b""),
            ]
        );
    }
}
