//! Values that occur only in a recipe. Parsing refuses an invalid value.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use url::Url;

use crate::Domain;
use crate::reader::{Located, Table};

/// A number of bytes, written as `8 GiB`, `512 MiB` or `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// Returns the size in whole MiB, the unit of a kickstart.
    pub const fn mib(self) -> u64 {
        self.0 >> 20
    }
}

/// Reads a size. `bounds` contains the sizes in bytes that the key accepts. If a number has no
/// quotes, the advice adds the smallest unit with which the size is within these bounds.
pub(super) fn read_size(
    table: &Table<'_>,
    key: &'static str,
    bounds: RangeInclusive<u64>,
) -> Option<Located<Size>> {
    let meant = |bare: &str| {
        let with = |unit: &str| format!("{bare} {unit}");
        let fits = |unit: &&str| {
            let size = with(unit).parse::<Size>();
            size.is_ok_and(|size| bounds.contains(&size.0))
        };
        let unit = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter().find(fits);
        match (unit, bare.parse::<Size>()) {
            (Some("B"), Ok(size)) => Ok(size.to_string()),
            (Some(unit), _) => Ok(with(unit)),
            (None, _) => Err("write a number and a unit in quotes, as in \"8 GiB\"".to_owned()),
        }
    };
    table.quantity(key, meant)
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let shift = match unit.trim() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err("expected a number and KiB, MiB, GiB or TiB, as in \"8 GiB\""),
        };
        if number.is_empty() {
            return Err("expected a number and a unit, as in \"8 GiB\"");
        }
        let bytes = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(1 << shift));
        bytes.map(Self).ok_or("this size is too large")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units
            .iter()
            .find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift)
        {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $expected:expr, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl FromStr for $name {
            type Err = &'static str;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.to_owned())) } else { Err($expected) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// A word that needs no quoting in a shell, in a kickstart or on a kernel command line.
    Word,
    "expected letters, digits and any of _ . : , @ % + = / -",
    |text| {
        let safe = |c: char| c.is_ascii_alphanumeric() || "_.:,@%+=/-".contains(c);
        !text.is_empty() && text.len() < 200 && !text.starts_with('-') && text.chars().all(safe)
    }
);

text!(
    /// A host that the node can contact: a name or an address.
    Host,
    "expected a host name or an address",
    |text| text.parse::<Domain>().is_ok() || text.parse::<IpAddr>().is_ok()
);

text!(
    /// A password hashed by crypt(3) with SHA-256 (`$5$`) or SHA-512 (`$6$`). glibc 2.17 also
    /// supports MD5 (crypt/crypt-entry.c), but this type refuses MD5.
    CryptHash,
    "expected a hash from `openssl passwd -6`, which begins with $6$ (or $5$); do not write the \
     password itself",
    |text| {
        let rest = text.strip_prefix("$6$").or_else(|| text.strip_prefix("$5$"));
        let Some((_, hash)) = rest.and_then(|rest| rest.rsplit_once('$')) else { return false };
        let safe = |c: char| c.is_ascii_alphanumeric() || "./$=".contains(c);
        hash.len() >= 43 && text.chars().all(safe)
    }
);

/// The HTTP or HTTPS address of a folder, with a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base(Url);

impl Base {
    /// Returns the address.
    pub const fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for Base {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let slash = if text.ends_with('/') { "" } else { "/" };
        let url =
            Url::parse(&format!("{text}{slash}")).map_err(|error| format!("not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("expected a URL with http:// or https:// and a host".to_owned());
        }
        // If the recipe names no server, the lines that `builder mirror` prints contain the
        // placeholder host `SERVER`. The crate `url` converts a host to lower case, so search the
        // original text for the placeholder.
        let host = text.split_once("://").map_or("", |(_, rest)| rest);
        if host.split(['/', ':']).next() == Some("SERVER") {
            return Err(
                "`SERVER` is a placeholder: write the name or the address of the server".to_owned(),
            );
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "the image is public, so the URL must not contain a user name or password"
                    .to_owned(),
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("expected the address of a folder, without ? and #".to_owned());
        }
        if let Some(at) = text.find('$') {
            let name: String = text[at + 1..]
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            return Err(format!(
                "`${name}` is a yum variable, which has no value here: write the value itself"
            ));
        }
        // Refuse characters that the crate `url` does not escape although they are special in a
        // shell or a kickstart.
        if let Some(c) = url
            .as_str()
            .chars()
            .find(|c| "'\"$`\\;&|<>(){}*!".contains(*c))
        {
            return Err(format!("`{c}` must be written as %{:02X}", u32::from(c)));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Converts a TOML date to seconds since 1970. A date without a time means midnight UTC. Returns
/// `None` for a time without a date, and for a year outside 1980 to 2099.
pub(super) fn unix_seconds(date: &toml::value::Datetime) -> Option<u64> {
    let day = date.date?;
    let (year, month) = (i64::from(day.year), i64::from(day.month));
    if !(1980..2100).contains(&year) {
        return None;
    }
    // The following lines compute the number of days from the civil date. In this computation, the
    // year begins in March, so that the leap day is its last day (Hinnant, chrono-Compatible
    // Low-Level Date Algorithms).
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * year + year / 4 - year / 100
        + year / 400
        + (153 * month + 2) / 5
        + i64::from(day.day)
        - 1
        - 719_468;
    let clock = date.time.map_or(0, |time| {
        i64::from(time.hour) * 3600
            + i64::from(time.minute) * 60
            + i64::from(time.second.unwrap_or(0))
    });
    let offset = match date.offset {
        Some(toml::value::Offset::Custom { minutes }) => i64::from(minutes) * 60,
        _ => 0,
    };
    u64::try_from(days * 86_400 + clock - offset).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [
            ("8 GiB", 8 << 30),
            ("512MiB", 512 << 20),
            ("4096", 4096),
            ("3 B", 3),
        ] {
            assert_eq!(text.parse::<Size>().unwrap().0, bytes, "{text}");
        }
        assert_eq!(Size(3 << 20).to_string(), "3 MiB");
        for bad in ["", "GiB", "8 GB", "-1", "99999999999 TiB", "1.5 GiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_in_plain_text_is_not_a_hash() {
        assert!("hunter2".parse::<CryptHash>().is_err());
        assert!(
            format!("$6$salt${}", "a".repeat(86))
                .parse::<CryptHash>()
                .is_ok()
        );
        assert!(
            format!("$6$salt${}'", "a".repeat(86))
                .parse::<CryptHash>()
                .is_err()
        );
    }

    #[test]
    fn a_base_must_be_a_folder_url_without_secrets() {
        assert_eq!(
            "http://10.0.0.1:8080".parse::<Base>().unwrap().to_string(),
            "http://10.0.0.1:8080/"
        );
        let variable = "http://a/7/os/$basearch/".parse::<Base>().unwrap_err();
        assert!(
            variable.contains("`$basearch` is a yum variable"),
            "{variable}"
        );
        for bad in [
            "ftp://a/",
            "http://u:p@a/",
            "http://a/?x",
            "a",
            "http://a/$(x)",
            "http://a/'",
        ] {
            assert!(bad.parse::<Base>().is_err(), "{bad}");
        }
    }

    #[test]
    fn dates_are_converted_to_seconds() {
        let seconds = |text: &str| unix_seconds(&text.parse().unwrap());
        assert_eq!(seconds("2000-01-01"), Some(946_684_800));
        assert_eq!(seconds("2024-02-29T12:00:00Z"), Some(1_709_208_000));
        assert_eq!(seconds("2024-02-29T12:00:00+02:00"), Some(1_709_200_800));
        assert_eq!(seconds("1970-01-01"), None);
    }
}
