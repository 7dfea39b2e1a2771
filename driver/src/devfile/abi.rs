//! `driver/kernel/uapi/cxlmem.h` for Rust: structures, numbers of calls, values. A test reads the header and compares all of it.

/// Structures that the kernel reads and writes, with the place of each member.
macro_rules! structures {
    ($($(#[$doc:meta])* $name:ident $header:literal { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default)]
            pub struct $name {
                $(
                    #[doc = concat!("Member `", stringify!($field), "` of `struct ", $header, "`.")]
                    pub $field: $type,
                )*
            }
        )*

        /// Name in the header, bytes, and of each member name, offset and bytes.
        #[cfg(test)]
        pub fn structures() -> Vec<(&'static str, usize, Vec<(&'static str, usize, usize)>)> {
            vec![$((
                $header,
                std::mem::size_of::<$name>(),
                vec![$((stringify!($field), std::mem::offset_of!($name, $field), std::mem::size_of::<$type>()),)*],
            ),)*]
        }
    };
}

structures! {
    /// Argument of [`MIGRATE`].
    Migrate "cxlmem_migrate" {
        addr: u64,
        npages: u64,
        flags: u32,
        reserved: u32,
        results: u64,
        moved: u64,
        cycles: u64,
    }
    /// Argument of [`QUERY`].
    Query "cxlmem_query" {
        addr: u64,
        npages: u64,
        r#where: u64,
        addresses: u64,
        on_device: u64,
    }
    /// Argument of [`OPERATE`].
    Operate "cxlmem_operate" {
        opcode: u32,
        reserved: u32,
        addr: u64,
        bytes: u64,
        arg: u64,
        arg2: u64,
        result: u64,
        cycles: u64,
    }
    /// Argument of [`POLICY`].
    Policy "cxlmem_policy" {
        addr: u64,
        npages: u64,
        in_after: u32,
        home_after: u32,
        flags: u32,
        reserved: u32,
        moved_in: u64,
        moved_home: u64,
    }
    /// Result of [`INFO`].
    Info "cxlmem_info" {
        abi: u32,
        memory: u32,
        base: u64,
        bytes: u64,
        caps: u32,
        config: u32,
        clock_khz: u32,
        map_version: u32,
    }
    /// Counters since the driver was bound; pages unless said otherwise. Result of `CXLMEM_IOC_STATS`.
    Stats "cxlmem_stats" {
        pages: u64,
        free: u64,
        quarantined: u64,
        to_device: u64,
        to_host: u64,
        evicted: u64,
        busy: u64,
        copy_failed: u64,
        engine_cycles: u64,
        interrupts: u64,
        poisoned: u64,
    }
}

macro_rules! values {
    ($($name:ident $header:literal = $value:expr;)*) => {
        $(pub const $name: u64 = $value;)*
        /// Name in the header, and value.
        #[cfg(test)]
        pub const VALUES: &[(&str, u64)] = &[$(($header, $name),)*];
    };
}

values! {
    ABI "CXLMEM_ABI" = 1;
    MAX_PAGES "CXLMEM_MAX_PAGES" = 1 << 20;
    PAGE_MOVED "CXLMEM_PAGE_MOVED" = 0;
    PAGE_THERE "CXLMEM_PAGE_THERE" = 1;
    PAGE_ABSENT "CXLMEM_PAGE_ABSENT" = 2;
    PAGE_BUSY "CXLMEM_PAGE_BUSY" = 3;
    PAGE_UNFIT "CXLMEM_PAGE_UNFIT" = 4;
    PAGE_NO_MEMORY "CXLMEM_PAGE_NO_MEMORY" = 5;
    PAGE_COPY_FAILED "CXLMEM_PAGE_COPY_FAILED" = 6;
    PAGE_NOT_TRIED "CXLMEM_PAGE_NOT_TRIED" = 7;
    PAGE_POISONED "CXLMEM_PAGE_POISONED" = 8;
    MIGRATE_TO_HOST "CXLMEM_MIGRATE_TO_HOST" = 1 << 0;
    MIGRATE_CPU_COPY "CXLMEM_MIGRATE_CPU_COPY" = 1 << 1;
    WHERE_PRESENT "CXLMEM_WHERE_PRESENT" = 1 << 0;
    WHERE_DEVICE "CXLMEM_WHERE_DEVICE" = 1 << 1;
    WHERE_WRITABLE "CXLMEM_WHERE_WRITABLE" = 1 << 2;
    OP_FILL "CXLMEM_OP_FILL" = 3;
    OP_SUM64 "CXLMEM_OP_SUM64" = 4;
    OP_CRC32C "CXLMEM_OP_CRC32C" = 5;
    OP_FETCH_ADD "CXLMEM_OP_FETCH_ADD" = 8;
    OP_COMPARE_SWAP "CXLMEM_OP_COMPARE_SWAP" = 9;
    MAX_POLICY_PAGES "CXLMEM_MAX_POLICY_PAGES" = 1 << 17;
    POLICY_READ "CXLMEM_POLICY_READ" = 1 << 2;
    MEMORY_SPM "CXLMEM_MEMORY_SPM" = 0;
    MEMORY_BAR "CXLMEM_MEMORY_BAR" = 1;
}

const READ: u64 = 2;
const WRITE: u64 = 1;

/// Number of a call, as `_IOC` of the kernel's headers makes it.
const fn call(direction: u64, number: u64, bytes: usize) -> u64 {
    direction << 30 | (bytes as u64) << 16 | (b'x' as u64) << 8 | number
}

macro_rules! calls {
    ($($name:ident $header:literal = $direction:expr, $number:literal, $type:ty;)*) => {
        $(pub const $name: u64 = call($direction, $number, std::mem::size_of::<$type>());)*
        /// Name in the header, and number.
        #[cfg(test)]
        pub const CALLS: &[(&str, u64)] = &[$(($header, $name),)*];
    };
}

calls! {
    INFO "CXLMEM_IOC_INFO" = READ, 0x80, Info;
    MIGRATE "CXLMEM_IOC_MIGRATE" = READ | WRITE, 0x81, Migrate;
    QUERY "CXLMEM_IOC_QUERY" = READ | WRITE, 0x82, Query;
    OPERATE "CXLMEM_IOC_OPERATE" = READ | WRITE, 0x83, Operate;
    STATS "CXLMEM_IOC_STATS" = READ, 0x84, Stats;
    POLICY "CXLMEM_IOC_POLICY" = READ | WRITE, 0x85, Policy;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The header without its comments.
    fn header() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/kernel/uapi/cxlmem.h");
        let text = std::fs::read_to_string(path).unwrap();
        let mut code = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("/*") {
            code += before;
            rest = after.split_once("*/").unwrap().1;
        }
        code + rest
    }

    /// `8`, `(1U << 3)`, `(1UL << 20)`.
    fn number(text: &str) -> u64 {
        let text = text.trim().trim_matches(['(', ')']).replace(['U', 'L'], "");
        let parse = |t: &str| {
            let t = t.trim();
            t.strip_prefix("0x")
                .map_or_else(|| t.parse(), |hex| u64::from_str_radix(hex, 16))
                .unwrap_or_else(|e| panic!("{text}: {e}"))
        };
        match text.split_once("<<") {
            Some((value, shift)) => parse(value) << parse(shift),
            None => parse(&text),
        }
    }

    #[test]
    fn values_are_the_headers() {
        let header = header();
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        for line in header.lines().map(str::trim) {
            if let Some((name, value)) = line
                .strip_prefix("#define ")
                .and_then(|d| d.split_once(' '))
            {
                if !value.contains("_IO") {
                    found.insert(name.to_string(), number(value));
                }
            } else if let Some((name, value)) =
                line.strip_suffix(',').and_then(|l| l.split_once(" = "))
            {
                found.insert(name.to_string(), number(value));
            }
        }
        let ours: BTreeMap<String, u64> = VALUES.iter().map(|(n, v)| (n.to_string(), *v)).collect();
        assert_eq!(ours, found);
    }

    /// Bytes, and of each member name, offset and bytes.
    type Layout = (usize, Vec<(String, usize, usize)>);

    /// Structures of the header, laid out by the rules of C.
    fn laid_out(header: &str) -> BTreeMap<String, Layout> {
        let mut all = BTreeMap::new();
        for part in header.split("\nstruct ").skip(1) {
            let (name, rest) = part.split_once(" {").unwrap();
            let (body, _) = rest.split_once("};").unwrap();
            let (mut fields, mut at, mut align) = (Vec::new(), 0usize, 1);
            for field in body.split(';').map(str::trim).filter(|f| !f.is_empty()) {
                let (kind, field) = field.split_once(' ').unwrap();
                let bytes: usize = match kind {
                    "__u64" => 8,
                    "__u32" => 4,
                    other => panic!("{other} {field}"),
                };
                at = at.next_multiple_of(bytes);
                align = align.max(bytes);
                fields.push((field.to_string(), at, bytes));
                at += bytes;
            }
            all.insert(name.to_string(), (at.next_multiple_of(align), fields));
        }
        all
    }

    #[test]
    fn structures_are_the_headers() {
        let ours: BTreeMap<_, _> = structures()
            .into_iter()
            .map(|(name, bytes, fields)| {
                let fields = fields
                    .into_iter()
                    .map(|(n, at, b)| (n.trim_start_matches("r#").to_string(), at, b));
                (name.to_string(), (bytes, fields.collect::<Vec<_>>()))
            })
            .collect();
        assert_eq!(ours, laid_out(&header()));
    }

    #[test]
    fn calls_are_the_headers() {
        let header = header();
        let sizes = laid_out(&header);
        let mut found = BTreeMap::new();
        for line in header.lines().filter(|l| l.contains(" _IO")) {
            let (name, rest) = line
                .strip_prefix("#define ")
                .and_then(|l| l.split_once(' '))
                .unwrap();
            let (kind, arguments) = rest.trim_end_matches(')').split_once('(').unwrap();
            let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
            assert_eq!(arguments[0], "'x'", "{line}");
            let direction = match kind {
                "_IOR" => 2,
                "_IOW" => 1,
                "_IOWR" => 3,
                other => panic!("{other}"),
            };
            let bytes = sizes[arguments[2].strip_prefix("struct ").unwrap()].0 as u64;
            let code = direction << 30 | bytes << 16 | u64::from(b'x') << 8 | number(arguments[1]);
            found.insert(name.to_string(), code);
        }
        let ours: BTreeMap<_, _> = CALLS.iter().map(|(n, v)| (n.to_string(), *v)).collect();
        assert_eq!(ours, found);
    }
}
