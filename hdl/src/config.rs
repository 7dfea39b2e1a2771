//! Named configurations: the one place where sizes are chosen. Every tool takes a configuration by name.

/// Where the device's memory lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Block RAM inside the design (in simulation: an array of the same form).
    Block,
    /// The memory port of `docs/developer/interfaces.md` section 3 brought to the pins.
    External,
}

/// How the directory of device-coherent memory (HDM-DB) is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directory {
    /// There is none: HDM-H only.
    None,
    /// An entry for every line.
    FullMap,
    /// A snoop filter: four ways of `2^set_bits` entries; it invalidates at the host to make room.
    Filter {
        /// log2 of the sets.
        set_bits: usize,
    },
}

/// Sizes of one controller. Widths are fixed by the protocol; depths and options are chosen here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name by which every tool takes it.
    pub name: &'static str,
    /// Number in register `ConfigId`.
    pub id: u32,
    /// Capacity: 2^n lines of 64 bytes.
    pub line_bits: usize,
    /// Memory back end.
    pub backend: Backend,
    /// Directory of device-coherent memory.
    pub directory: Directory,
    /// Req trackers in use (at most 16).
    pub req_trackers: usize,
    /// RwD trackers and data buffers in use (at most 8).
    pub rwd_trackers: usize,
    /// HDM decoders (1 or 2).
    pub hdm_decoders: usize,
    /// Whether the engine is present.
    pub engine: bool,
    /// Clock reported in `ClockKhz`: what software divides cycles by.
    pub clock_khz: u32,
    /// What it is for, one line.
    pub about: &'static str,
}

/// The configurations that every tool takes by name, smallest first.
pub const CONFIGS: &[Config] = &[
    Config {
        name: "tiny",
        id: 1,
        line_bits: 9,
        backend: Backend::Block,
        directory: Directory::None,
        req_trackers: 2,
        rwd_trackers: 2,
        hdm_decoders: 1,
        engine: false,
        clock_khz: 24_000,
        about: "32 KiB block RAM, no engine: the shape meant for an iCE40UP5K",
    },
    Config {
        name: "small",
        id: 2,
        line_bits: 9,
        backend: Backend::Block,
        directory: Directory::FullMap,
        req_trackers: 8,
        rwd_trackers: 4,
        hdm_decoders: 1,
        engine: true,
        clock_khz: 50_000,
        about: "32 KiB block RAM, engine, fewer trackers",
    },
    Config {
        name: "full",
        id: 3,
        line_bits: 12,
        backend: Backend::Block,
        directory: Directory::FullMap,
        req_trackers: 16,
        rwd_trackers: 8,
        hdm_decoders: 2,
        engine: true,
        clock_khz: 60_000,
        about: "256 KiB block RAM, engine, all trackers: an ECP5-85F",
    },
    Config {
        name: "sim",
        id: 4,
        line_bits: 19,
        backend: Backend::Block,
        directory: Directory::Filter { set_bits: 10 },
        req_trackers: 16,
        rwd_trackers: 8,
        hdm_decoders: 2,
        engine: true,
        clock_khz: 60_000,
        about: "as full, with 32 MiB of block RAM that only a simulator can hold",
    },
    Config {
        name: "sim-ext",
        id: 5,
        line_bits: 23,
        backend: Backend::External,
        directory: Directory::Filter { set_bits: 10 },
        req_trackers: 16,
        rwd_trackers: 8,
        hdm_decoders: 2,
        engine: true,
        clock_khz: 60_000,
        about: "as full, with 512 MiB behind the external memory port",
    },
];

/// Configurations that exist on boards alone, in front of a memory controller that [`crate::board::BoardTop`] has.
pub const BOARD_CONFIGS: &[Config] = &[
    Config {
        name: "sdram-32m",
        id: 6,
        line_bits: 19,
        backend: Backend::External,
        directory: Directory::Filter { set_bits: 10 },
        req_trackers: 16,
        rwd_trackers: 8,
        hdm_decoders: 2,
        engine: true,
        clock_khz: 50_000,
        about: "as full, with 32 MiB of SDRAM on the board",
    },
    Config {
        name: "sdram-8m",
        id: 7,
        line_bits: 17,
        backend: Backend::External,
        directory: Directory::None,
        req_trackers: 8,
        rwd_trackers: 4,
        hdm_decoders: 1,
        engine: false,
        clock_khz: 54_000,
        about: "no engine, with 8 MiB of SDRAM on the board",
    },
];

impl Config {
    /// The configuration of that name, those of boards included, or `None`.
    pub fn by_name(name: &str) -> Option<&'static Config> {
        let mut all = CONFIGS.iter().chain(BOARD_CONFIGS);
        all.find(|c| c.name == name)
    }

    /// The configuration whose number register `ConfigId` has, those of boards included, or `None`.
    pub fn by_id(id: u32) -> Option<&'static Config> {
        let mut all = CONFIGS.iter().chain(BOARD_CONFIGS);
        all.find(|c| c.id == id)
    }

    /// The configurations that every tool takes by name, smallest first: not those of boards alone.
    pub fn all() -> &'static [Config] {
        CONFIGS
    }

    /// Whether it has device-coherent memory and back-invalidate.
    pub fn coherent(&self) -> bool {
        self.directory != Directory::None
    }

    /// Capacity in bytes.
    pub fn capacity(&self) -> u64 {
        64 << self.line_bits
    }
}
