//! Errors of the driver's logic as Linux's numbers. The text of an error says more: `cxlmem_engine_error`.

use cxlmem_driver_core::{Error, IoError, PoolError};

pub const EIO: i32 = 5;
pub const EBUSY: i32 = 16;
pub const ENODEV: i32 = 19;
pub const EINVAL: i32 = 22;
pub const ENOSPC: i32 = 28;
pub const EFAULT: i32 = 14;
pub const EPROTO: i32 = 71;
pub const EOPNOTSUPP: i32 = 95;
pub const ETIMEDOUT: i32 = 110;

/// The negative number of an error.
pub fn of(error: &Error) -> i32 {
    -match error {
        Error::Gone { .. } => ENODEV,
        Error::Io { source, .. } => return of_io(*source),
        Error::Identity { .. } => ENODEV,
        Error::Version { .. } => EPROTO,
        Error::Missing { .. } | Error::NotAgreed { .. } => EOPNOTSUPP,
        Error::Timeout { .. } | Error::CommandTimeout { .. } => ETIMEDOUT,
        Error::Parameter { .. } => EINVAL,
        Error::DecoderLocked { .. } | Error::RingFull { .. } => EBUSY,
        _ => EIO,
    }
}

/// The same of an access.
pub fn of_io(error: IoError) -> i32 {
    -match error {
        IoError::Gone => ENODEV,
        IoError::Timeout => ETIMEDOUT,
        IoError::Address => EFAULT,
        IoError::Other(code) => return if code < 0 { code } else { -EIO },
    }
}

/// The same of the pool.
pub fn of_pool(error: PoolError) -> i32 {
    -match error {
        PoolError::NoSpace { .. } => ENOSPC,
        PoolError::AlreadyOwned { .. } | PoolError::DeviceHeld { .. } => EBUSY,
        PoolError::Quarantined { .. } => EIO,
        PoolError::Unaligned { .. }
        | PoolError::OutOfRange { .. }
        | PoolError::NotOwner { .. }
        | PoolError::DoubleFree { .. } => EINVAL,
    }
}
