//! Reads what apt says of versions, so that none is written down here.

use std::cmp::Ordering;

/// Compares two Debian version numbers as dpkg does: runs of digits by value, `~` before everything, letters before other characters.
pub fn compare(a: &str, b: &str) -> Ordering {
    let epoch = |v: &str| match v.split_once(':') {
        Some((e, rest)) => (e.parse::<u64>().unwrap_or(0), rest.to_string()),
        None => (0, v.to_string()),
    };
    let ((ea, a), (eb, b)) = (epoch(a), epoch(b));
    let revision = |v: &str| match v.rsplit_once('-') {
        Some((v, r)) => (v.to_string(), r.to_string()),
        None => (v.to_string(), String::new()),
    };
    let ((a, ra), (b, rb)) = (revision(&a), revision(&b));
    ea.cmp(&eb)
        .then_with(|| compare_part(&a, &b))
        .then_with(|| compare_part(&ra, &rb))
}

fn compare_part(a: &str, b: &str) -> Ordering {
    let rank = |c: Option<&u8>| match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    };
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let number = |s: &mut &[u8]| {
        let n = s.iter().take_while(|c| c.is_ascii_digit()).count();
        let (digits, rest) = s.split_at(n);
        *s = rest;
        let zeros = digits.iter().take_while(|c| **c == b'0').count();
        digits[zeros..].to_vec()
    };
    while !a.is_empty() || !b.is_empty() {
        loop {
            let (ca, cb) = (a.first(), b.first());
            let is_text = |c: Option<&u8>| c.is_some_and(|c| !c.is_ascii_digit());
            if !is_text(ca) && !is_text(cb) {
                break;
            }
            match rank(ca).cmp(&rank(cb)) {
                Ordering::Equal => {}
                other => return other,
            }
            a = &a[usize::from(!a.is_empty())..];
            b = &b[usize::from(!b.is_empty())..];
        }
        let (na, nb) = (number(&mut a), number(&mut b));
        match na.len().cmp(&nb.len()).then_with(|| na.cmp(&nb)) {
            Ordering::Equal => {}
            other => return other,
        }
    }
    Ordering::Equal
}

/// One line of `apt-cache madison`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Package.
    pub package: String,
    /// Debian version.
    pub version: String,
    /// Where from: address, suite and component.
    pub origin: String,
}

impl Offer {
    /// Major and minor number of a kernel's version: `7.3` of `7.3.4-1~bpo13+1`.
    pub fn series(&self) -> Option<String> {
        series_of(&self.version)
    }
}

/// Major and minor number at the start of a version.
pub fn series_of(version: &str) -> Option<String> {
    let mut numbers = version.split(['.', '-', '~', '+']);
    let number = |n: Option<&str>| n?.parse::<u32>().ok();
    let (major, minor) = (number(numbers.next())?, number(numbers.next())?);
    Some(format!("{major}.{minor}"))
}

/// All offers in the output of `apt-cache madison`, newest first.
pub fn madison(text: &str) -> Vec<Offer> {
    let mut offers: Vec<Offer> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('|').map(str::trim);
            let [package, version, origin] = [fields.next()?, fields.next()?, fields.next()?];
            let is_binary = !origin.ends_with("Sources");
            is_binary.then(|| Offer {
                package: package.to_string(),
                version: version.to_string(),
                origin: origin.to_string(),
            })
        })
        .collect();
    offers.sort_by(|a, b| compare(&b.version, &a.version));
    offers
}

/// The newest version of each series of `linux-image-amd64` on offer, newest series first. One version each for image and headers: an older one
/// of the same series from another suite is left out.
pub fn kernels(offers: &[Offer]) -> Vec<(String, Offer)> {
    let mut found: Vec<(String, Offer)> = Vec::new();
    for offer in offers.iter().filter(|o| o.package == "linux-image-amd64") {
        let Some(series) = offer.series() else {
            continue;
        };
        if !found.iter().any(|(s, _)| *s == series) {
            found.push((series, offer.clone()));
        }
    }
    found
}

/// One paragraph of `apt-cache show`: package, version and dependencies, the first of each set of alternatives and without versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Package.
    pub package: String,
    /// Debian version.
    pub version: String,
    /// Names of what it depends on.
    pub depends: Vec<String>,
}

/// All paragraphs in the output of `apt-cache show`.
pub fn show(text: &str) -> Vec<Shown> {
    let paragraphs = text.split("\n\n");
    let field = |paragraph: &str, name: &str| {
        let mut lines = paragraph.lines();
        lines.find_map(|l| Some(l.strip_prefix(name)?.strip_prefix(':')?.trim().to_string()))
    };
    paragraphs
        .filter_map(|p| {
            let depends = field(p, "Depends").unwrap_or_default();
            let names = depends
                .split(',')
                .filter_map(|d| d.split_whitespace().next())
                .map(|d| d.split(':').next().unwrap_or(d).to_string());
            Some(Shown {
                package: field(p, "Package")?,
                version: field(p, "Version")?,
                depends: names.collect(),
            })
        })
        .collect()
}

/// The kernel's own version, as `uname -r` says it, from what `linux-image-amd64` depends on: `7.3.4+deb13-amd64`.
pub fn kernel_version(image: &Shown) -> Option<String> {
    let mut depends = image.depends.iter();
    depends.find_map(|d| {
        let version = d.strip_prefix("linux-image-")?;
        let is_version = version.starts_with(|c: char| c.is_ascii_digit());
        is_version.then(|| version.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADISON: &str = "\
linux-image-amd64 | 6.12.107-1 | http://deb.debian.org/debian trixie/main amd64 Packages
linux-image-amd64 | 6.12.117-1 | http://security.debian.org/debian-security trixie-security/main amd64 Packages
linux-image-amd64 | 7.3.4-1~bpo13+1 | http://deb.debian.org/debian trixie-backports/main amd64 Packages
linux-image-amd64 | 7.10.1-1~bpo13+1 | http://deb.debian.org/debian trixie-backports/main amd64 Packages
linux | 9.1-1 | http://deb.debian.org/debian trixie/main Sources
nonsense
";

    #[test]
    fn versions_compare_as_dpkg_does() {
        let rising = [
            "1.0~rc1",
            "1.0",
            "1.0-1~bpo1",
            "1.0-1",
            "1.0-1+b1",
            "1.0a",
            "1.0+x",
            "1.9",
            "1.10",
            "1.10.0",
            "2",
            "1:0.1",
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(compare("1.07", "1.7"), Ordering::Equal);
    }

    #[test]
    fn newest_of_each_series() {
        let kernels = kernels(&madison(MADISON));
        let versions: Vec<(&str, &str)> = kernels
            .iter()
            .map(|(s, o)| (s.as_str(), o.version.as_str()))
            .collect();
        assert_eq!(
            versions,
            [
                ("7.10", "7.10.1-1~bpo13+1"),
                ("7.3", "7.3.4-1~bpo13+1"),
                ("6.12", "6.12.117-1")
            ]
        );
        assert!(kernels[2].1.origin.contains("trixie-security"));
    }

    #[test]
    fn paragraphs_and_kernel_version() {
        let text = "\
Package: linux-image-amd64
Version: 7.3.4-1~bpo13+1
Depends: linux-base-amd64 (= 7.3.4-1~bpo13+1), linux-image-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1), linux-modules-amd64
Description: none

Package: linux-headers-6.12.117+deb13-amd64
Version: 6.12.117-1
Depends: linux-image-6.12.117+deb13-amd64 (= 6.12.117-1) | linux-image-6.12.117+deb13-amd64-unsigned, gcc-14:amd64

Package: none
";
        let shown = show(text);
        assert_eq!(shown.len(), 2);
        assert_eq!(
            kernel_version(&shown[0]).as_deref(),
            Some("7.3.4+deb13-amd64")
        );
        assert_eq!(
            shown[1].depends,
            ["linux-image-6.12.117+deb13-amd64", "gcc-14"]
        );
        let meta = Shown {
            depends: vec!["linux-image-amd64".into()],
            ..shown[0].clone()
        };
        assert_eq!(kernel_version(&meta), None);
        assert_eq!(series_of("7.3.4+deb13-amd64").as_deref(), Some("7.3"));
        assert_eq!(series_of("7"), None);
    }
}
