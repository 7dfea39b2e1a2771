//! Lines through the host's cache.

use super::{System, SystemError};
use crate::home::cache::State;
use crate::home::golden::{Line, LINE};
use crate::home::{HomeError, Op, Ticket};

/// What the host is going to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it: the cache takes it in S.
    Shared,
    /// Write it: the cache takes it in E.
    Exclusive,
}

impl System {
    /// Loads a line through the caches. True: it is poisoned, its content is arbitrary and not cached.
    ///
    /// # Errors
    /// [`SystemError::NoMemory`], [`SystemError::Line`].
    pub fn read_line(&mut self, address: u64, access: Access) -> Result<(Line, bool), SystemError> {
        let mut lines = [[0; 64]];
        let poison = self.read_lines(address, access, &mut lines)?;
        Ok((lines[0], poison != 0))
    }

    /// Loads consecutive lines, at most 64, with all misses in flight at once. Bit *n* of the result: line *n* is poisoned.
    ///
    /// # Errors
    /// As [`System::read_line`]; lines that arrived are cached all the same. More than 64 lines are a [`HomeError::QueueFull`].
    pub fn read_lines(
        &mut self,
        address: u64,
        access: Access,
        lines: &mut [Line],
    ) -> Result<u64, SystemError> {
        if lines.len() > 64 {
            return Err(HomeError::QueueFull(lines.len()).into());
        }
        if self.has_coherent_host() {
            return self.coherent_read(address, access, lines);
        }
        let mut misses: Vec<(usize, Ticket)> = Vec::new();
        let mut failure: Option<SystemError> = None;
        for (n, line) in lines.iter_mut().enumerate() {
            let at = address + n as u64 * LINE;
            match self.cache.read(at) {
                Some(data) => *line = data,
                None => match self.issue(at, Op::READ) {
                    Ok(ticket) => misses.push((n, ticket)),
                    Err(e) => {
                        failure = Some(e.into());
                        break;
                    }
                },
            }
        }
        let mut poison = 0;
        for (n, ticket) in misses {
            let at = address + n as u64 * LINE;
            // Every ticket is polled, also after a failure: none is left behind.
            let result = match self.wait(ticket) {
                Err(e) => Err(e.into()),
                Ok(done) if done.nxm => Err(SystemError::NoMemory(at)),
                Ok(done) => {
                    lines[n] = done.data.unwrap_or([0; 64]);
                    poison |= u64::from(done.poison) << n;
                    let state = if access == Access::Shared {
                        State::S
                    } else {
                        State::E
                    };
                    if done.poison {
                        Ok(())
                    } else {
                        self.fill(at, &lines[n], state)
                    }
                }
            };
            if let Err(e) = result {
                failure.get_or_insert(e);
            }
        }
        match failure {
            Some(e) => Err(e),
            None => Ok(poison),
        }
    }

    /// Stores one whole line in the cache, where it stays modified until it is evicted or flushed.
    ///
    /// # Errors
    /// As [`System::read_line`], from the write-back of the line that makes room.
    pub fn write_line(&mut self, address: u64, data: &Line) -> Result<(), SystemError> {
        if address % LINE != 0 || address >> 52 != 0 {
            return Err(HomeError::BadAddress(address).into());
        }
        if self.has_coherent_host() {
            return self.coherent_write(address, data);
        }
        if self.cache.write(address, data, u64::MAX) {
            return Ok(());
        }
        // A whole line: its old content need not be read (cxl-mem 8.1).
        self.fill(address, data, State::M)
    }

    /// Puts a line into the cache after the victim, if it is dirty, has reached the device.
    fn fill(&mut self, address: u64, data: &Line, state: State) -> Result<(), SystemError> {
        if let Some(victim) = self.cache.victim(address) {
            self.operate(victim.address, Op::write(victim.data))?;
            self.cache.mark_clean(victim.address);
        }
        self.cache.fill(address, data, state);
        Ok(())
    }

    /// Writes back every modified line of `address..address + bytes`, waits until the device has acknowledged them, and drops all lines of the range from the cache.
    ///
    /// # Errors
    /// [`SystemError::Line`]; what was not written back stays cached.
    pub fn flush(&mut self, address: u64, bytes: u64) -> Result<(), SystemError> {
        let range = address..address.saturating_add(bytes);
        if self.has_coherent_host() {
            return self.coherent_flush(range);
        }
        let mut written: Vec<(u64, Ticket)> = Vec::new();
        let mut failure: Option<SystemError> = None;
        for at in self.cache.addresses_in(range.clone()) {
            match self.cache.modified(at) {
                None => self.cache.drop_line(at),
                Some(data) => match self.issue(at, Op::write(data)) {
                    Ok(ticket) => written.push((at, ticket)),
                    Err(e) => {
                        failure.get_or_insert(e.into());
                    }
                },
            }
        }
        for (at, ticket) in written {
            match self.wait(ticket) {
                Ok(_) => self.cache.drop_line(at),
                Err(e) => {
                    failure.get_or_insert(e.into());
                }
            }
        }
        if self.options.forget_on_flush {
            self.home.golden_mut().forget(address, bytes);
        }
        match failure {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }
}
