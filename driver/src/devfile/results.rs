//! What a node tells and what its calls give.

use std::fmt;

use cxlmem_protocol::regs;

use super::abi;

/// What stands behind the device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeMemory {
    /// Specific-purpose memory that firmware sets apart.
    Spm,
    /// BAR 2 of the PCI function.
    Bar,
}

impl NodeMemory {
    /// As sysfs and command lines have it.
    pub fn name(self) -> &'static str {
        match self {
            NodeMemory::Spm => "spm",
            NodeMemory::Bar => "bar",
        }
    }
}

/// A device as its node tells.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// What stands behind its memory.
    pub memory: NodeMemory,
    /// First byte of its memory, as physical address of the host.
    pub base: u64,
    /// Bytes of its memory.
    pub bytes: u64,
    /// Register `Caps`.
    pub caps: u32,
    /// Register `ConfigId`.
    pub config: u32,
    /// Clock of the controller as its configuration states it, kHz.
    pub clock_khz: u32,
}

impl NodeInfo {
    /// Whether the device says that it is a simulation.
    pub fn is_simulated(&self) -> bool {
        regs::Caps::SIMULATED.is_set(self.caps)
    }
}

/// Who copies the pages of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyBy {
    /// The device.
    Engine,
    /// The kernel.
    Cpu,
}

/// What became of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePage {
    /// It moved.
    Moved,
    /// It was there already.
    There,
    /// Nothing is mapped there, or it is a hole in a private file mapping.
    Absent,
    /// Somebody holds it.
    Busy,
    /// A file's, shared, huge TLB, or memory of another device.
    Unfit,
    /// No memory at the destination.
    NoMemory,
    /// The copy failed; the page is where it was.
    CopyFailed,
    /// A signal came before it.
    NotTried,
    /// It came home without a line that was poisoned: to touch the page is a SIGBUS.
    Poisoned,
    /// A number that this version does not know.
    Unknown(u8),
}

impl NodePage {
    /// As the module writes it.
    pub(super) fn of(result: u8) -> NodePage {
        match u64::from(result) {
            abi::PAGE_MOVED => NodePage::Moved,
            abi::PAGE_THERE => NodePage::There,
            abi::PAGE_ABSENT => NodePage::Absent,
            abi::PAGE_BUSY => NodePage::Busy,
            abi::PAGE_UNFIT => NodePage::Unfit,
            abi::PAGE_NO_MEMORY => NodePage::NoMemory,
            abi::PAGE_COPY_FAILED => NodePage::CopyFailed,
            abi::PAGE_NOT_TRIED => NodePage::NotTried,
            abi::PAGE_POISONED => NodePage::Poisoned,
            _ => NodePage::Unknown(result),
        }
    }

    /// The page is where it was asked to be.
    pub fn is_ok(self) -> bool {
        matches!(self, NodePage::Moved | NodePage::There)
    }
}

impl fmt::Display for NodePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NodePage::Moved => "moved",
            NodePage::There => "was there already",
            NodePage::Absent => "no page: nothing was written there yet",
            NodePage::Busy => "somebody holds it (a pin, I/O, another migration); try again",
            NodePage::Unfit => {
                "not a page that can move: a file's, shared, huge TLB, or memory of another device"
            }
            NodePage::NoMemory => "no memory at the destination; move other pages away first",
            NodePage::CopyFailed => {
                "the copy failed, the page is where it was; the kernel's log says why"
            }
            NodePage::NotTried => "not tried, because a signal came before it",
            NodePage::Poisoned => "came home without a poisoned line; to touch it is a SIGBUS",
            NodePage::Unknown(n) => {
                return write!(f, "result {n}, which this version does not know")
            }
        })
    }
}

/// What a migration did.
#[derive(Clone, Debug, Default)]
#[must_use = "pages can fail one by one"]
pub struct NodeMigration {
    /// A result for each page, in order.
    pub pages: Vec<NodePage>,
    /// Pages that moved.
    pub moved: u64,
    /// Cycles of the engine that copied them; 0 if the CPU did.
    pub cycles: u64,
}

impl NodeMigration {
    /// Every page is where it was asked to be.
    pub fn is_complete(&self) -> bool {
        self.pages.iter().all(|p| p.is_ok())
    }

    /// The first page that is not, and why.
    pub fn first_failure(&self) -> Option<(usize, NodePage)> {
        self.pages
            .iter()
            .copied()
            .enumerate()
            .find(|p| !p.1.is_ok())
    }
}

/// When pages move by themselves, by what the engine touches: [`DevFile::set_policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePolicy {
    /// To the device at this operation that touches a page, 1 to 4096.
    pub in_after: u32,
    /// Home after so many operations that did not, `in_after` to 2^24.
    pub home_after: u32,
    /// Who copies.
    pub copy: CopyBy,
}

/// What a policy has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyMoves {
    /// Pages to the device.
    pub to_device: u64,
    /// Pages home.
    pub to_host: u64,
}

/// Where one page is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagePlace {
    /// There is one.
    pub is_present: bool,
    /// Writing takes no fault.
    pub is_writable: bool,
    /// Device physical address of one that is on the device.
    pub device: Option<u64>,
}

/// Where pages are.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// For each page, in order.
    pub pages: Vec<PagePlace>,
    /// How many are on the device.
    pub on_device: u64,
}
