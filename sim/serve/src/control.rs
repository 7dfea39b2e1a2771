//! Faults and questions, one a line: of the control socket, and of the options at the start.

use std::str::FromStr;

/// A line of the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `hang on|off`: the device's clock stands still. A reset ends it too.
    Hang(bool),
    /// `stall MS`: the model's thread does nothing for so long, at most 10 s.
    Stall(u64),
    /// `lose-irq N`: the next N interrupts do not arrive.
    LoseIrqs(u64),
    /// `link on|off`: every flit is lost, both ways, until it is on again; then software restarts the link.
    Link(bool),
    /// `poison LINE`: the line of that number is poisoned until it is written whole.
    Poison(u64),
    /// `wrong-completion N`: the next N completion records of the engine have a wrong id.
    WrongCompletion(u64),
    /// `stats`: the counters, as JSON.
    Stats,
}

/// The commands, for messages.
const KNOWN: &str =
    "hang on|off, stall MS, lose-irq N, link on|off, poison LINE, wrong-completion N, stats";

impl FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| {
            word.parse::<u64>()
                .map_err(|_| format!("`{word}` is not a number; give one, as in `lose-irq 1`"))
        };
        match words[..] {
            ["hang", "on"] => Ok(Self::Hang(true)),
            ["hang", "off"] => Ok(Self::Hang(false)),
            ["link", "on"] => Ok(Self::Link(true)),
            ["link", "off"] => Ok(Self::Link(false)),
            ["stall", ms] => number(ms).map(|ms| Self::Stall(ms.min(10_000))),
            ["lose-irq", n] => number(n).map(Self::LoseIrqs),
            ["poison", line] => number(line).map(Self::Poison),
            ["wrong-completion", n] => number(n).map(Self::WrongCompletion),
            ["stats"] => Ok(Self::Stats),
            _ => Err(format!("no command `{line}`; there are: {KNOWN}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        assert_eq!("hang on".parse(), Ok(Command::Hang(true)));
        assert_eq!(" poison  7 ".parse(), Ok(Command::Poison(7)));
        assert_eq!("stall 99999999".parse(), Ok(Command::Stall(10_000)));
        for bad in ["", "hang", "hang maybe", "lose-irq x", "stats now"] {
            assert!(bad.parse::<Command>().is_err(), "{bad}");
        }
    }
}
