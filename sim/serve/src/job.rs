//! What the model's thread is asked to do.

use crate::control::Command;
use cxlmem_sim::shared::SharedMemory;
use std::fs::File;
use std::sync::mpsc::SyncSender;
use std::sync::Arc;
use std::time::Instant;

/// A region behind the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bar {
    Registers,
    Memory,
}

/// Where an answer goes, and until when somebody waits for it.
pub(crate) struct Reply<T> {
    pub(crate) to: SyncSender<T>,
    pub(crate) due: Instant,
}

impl<T> Reply<T> {
    /// Answers. Nobody may wait any more: then it is lost.
    pub(crate) fn send(self, value: T) {
        let _ = self.to.try_send(value);
    }

    /// Nobody waits any more.
    pub(crate) fn is_late(&self) -> bool {
        Instant::now() >= self.due
    }
}

pub(crate) type Done = std::io::Result<()>;

/// Done in the order in which they come.
pub(crate) enum Job {
    ConfigRead {
        offset: u64,
        bytes: usize,
        reply: Reply<Vec<u8>>,
    },
    ConfigWrite {
        offset: u64,
        data: Vec<u8>,
    },
    Read {
        bar: Bar,
        offset: u64,
        bytes: usize,
        reply: Reply<Vec<u8>>,
    },
    Write {
        bar: Bar,
        offset: u64,
        data: Vec<u8>,
    },
    Map {
        address: u64,
        memory: Arc<SharedMemory>,
        reply: Reply<Done>,
    },
    Unmap {
        address: u64,
        size: u64,
        reply: Reply<Done>,
    },
    Reset(Reply<Done>),
    Detach(Reply<Done>),
    Events {
        start: u32,
        events: Vec<Option<File>>,
        reply: Reply<Done>,
    },
    Trigger {
        start: u32,
        count: u32,
        reply: Reply<Done>,
    },
    Control(Command, Reply<Result<String, String>>),
    /// Ends the thread.
    Stop,
}
