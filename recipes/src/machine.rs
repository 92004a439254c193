//! Recognises a machine by the facts that its firmware and its network cards report.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The hardware address of a network card. The text form of the address is in lower case, with
/// colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

/// The error for a string that is not a hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// The text is not six pairs of hexadecimal digits.
    #[error(
        "`{0}` is not a MAC address: expected six pairs of hexadecimal digits, as in 52:54:00:12:34:56"
    )]
    Syntax(String),
    /// The address is a multicast or broadcast address, or all zeros. No network card has such an
    /// address.
    #[error(
        "`{0}` cannot be the address of a network card (it is all zeros, multicast or broadcast)"
    )]
    NoCard(String),
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let syntax = || MacError::Syntax(text.to_owned());
        let parts: Vec<&str> = text.split([':', '-']).collect();
        if parts.len() != 6 {
            return Err(syntax());
        }
        let mut bytes = [0; 6];
        for (byte, part) in bytes.iter_mut().zip(&parts) {
            if part.len() != 2 || !part.bytes().all(|c| c.is_ascii_hexdigit()) {
                return Err(syntax());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| syntax())?;
        }
        Self::try_from(bytes)
    }
}

impl TryFrom<[u8; 6]> for Mac {
    type Error = MacError;

    fn try_from(bytes: [u8; 6]) -> Result<Self, MacError> {
        let mac = Self(bytes);
        // The lowest bit of the first octet marks a group address (IEEE 802, 8.2.2).
        if bytes == [0; 6] || bytes[0] & 1 == 1 {
            Err(MacError::NoCard(mac.to_string()))
        } else {
            Ok(mac)
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;
    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// A serial number or UUID from SMBIOS, in lower case and without the spaces with which vendors pad
/// it. This type refuses placeholders that whole product lines share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FirmwareId(String);

/// The error for a string that does not identify a machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` does not identify a machine: it is empty or longer than 128 bytes, contains control \
     characters, or is a vendor's placeholder"
)]
pub struct FirmwareIdError(String);

impl FromStr for FirmwareId {
    type Err = FirmwareIdError;

    fn from_str(text: &str) -> Result<Self, FirmwareIdError> {
        const PLACEHOLDERS: [&str; 8] = [
            "none",
            "not specified",
            "not applicable",
            "default string",
            "system serial number",
            "to be filled by o.e.m.",
            "0123456789",
            "n/a",
        ];
        let id = text.trim().to_ascii_lowercase();
        let bare: Vec<u8> = id.bytes().filter(|b| *b != b'-').collect();
        let uniform = bare.iter().all(|b| *b == b'0') || bare.iter().all(|b| *b == b'f');
        if id.len() > 128
            || uniform
            || id.chars().any(char::is_control)
            || PLACEHOLDERS.contains(&id.as_str())
        {
            return Err(FirmwareIdError(text.to_owned()));
        }
        Ok(Self(id))
    }
}

impl FirmwareId {
    /// Returns whether two texts identify the same machine: the texts are equal, or are the same
    /// UUID in different byte orders. From SMBIOS 2.6 on, the bytes of a UUID's first three fields
    /// are stored in reverse order. The kernel reverses these bytes again (3.10.0-1160,
    /// drivers/firmware/dmi_scan.c, dmi_save_uuid), but pxelinux prints the bytes as they are
    /// stored (syslinux, core/sysappend.c). `product_uuid` therefore also changes when the virtual
    /// hardware of a machine is upgraded to SMBIOS 2.6 or later (VMware: hardware version 13).
    pub fn is_same_as(&self, other: &Self) -> bool {
        self == other || self.reversed_fields().is_some_and(|text| text == other.0)
    }

    /// Returns whether a machine whose id is `found` meets the requirement `wanted`. If `wanted` is
    /// `None`, every machine meets the requirement.
    pub fn meets(found: Option<&Self>, wanted: Option<&Self>) -> bool {
        wanted.is_none_or(|wanted| found.is_some_and(|found| found.is_same_as(wanted)))
    }

    /// Returns the text of a UUID with the bytes of its first three fields in reverse order, or
    /// `None` if the text is not a UUID.
    fn reversed_fields(&self) -> Option<String> {
        let fields: Vec<&str> = self.0.split('-').collect();
        let lengths = fields.iter().map(|field| field.len());
        if !self.0.is_ascii() || !lengths.eq([8, 4, 4, 4, 12]) {
            return None;
        }
        let reversed = |field: &str| -> String {
            let pairs = (0..field.len()).step_by(2).rev();
            pairs.map(|at| &field[at..at + 2]).collect()
        };
        let [one, two, three] = [0, 1, 2].map(|at| reversed(fields[at]));
        Some([&*one, &*two, &*three, fields[3], fields[4]].join("-"))
    }
}

impl TryFrom<String> for FirmwareId {
    type Error = FirmwareIdError;
    fn try_from(text: String) -> Result<Self, FirmwareIdError> {
        text.parse()
    }
}

impl From<FirmwareId> for String {
    fn from(id: FirmwareId) -> Self {
        id.0
    }
}

impl fmt::Display for FirmwareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The facts that a recipe states about the machine of a node. A fact that is `None` is not
/// compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineMatch {
    /// One of the machine's network cards has this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The serial number of SMBIOS type 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<FirmwareId>,
    /// The UUID of SMBIOS type 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<FirmwareId>,
}

impl MachineMatch {
    /// Returns whether the recipe states no fact about the machine.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_an_address_have_one_text() {
        let mac: Mac = "52-54-00-AB-cd-01".parse().unwrap();
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:01");
        for bad in [
            "",
            "52:54:00:ab:cd",
            "+2:54:00:ab:cd:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "01:00:5e:00:00:01",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_placeholder_identifies_no_machine() {
        for bad in [
            "",
            " ",
            "To be filled by O.E.M.",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF",
            "a\nb",
        ] {
            assert!(bad.parse::<FirmwareId>().is_err(), "{bad}");
        }
        assert_eq!("  ABC-1 ".parse::<FirmwareId>(), "abc-1".parse());
    }

    #[test]
    fn a_uuid_is_the_same_in_both_byte_orders() {
        let id = |text: &str| text.parse::<FirmwareId>().unwrap();
        let (old, new) = (
            id("42112233-4455-6677-8899-AABBCCDDEEFF"),
            id("33221142-5544-7766-8899-aabbccddeeff"),
        );
        assert!(old.is_same_as(&old) && old.is_same_as(&new) && new.is_same_as(&old));
        assert!(FirmwareId::meets(Some(&new), Some(&old)) && FirmwareId::meets(None, None));
        assert!(!FirmwareId::meets(None, Some(&old)));
        for other in [
            "33221142-5544-7766-8899-aabbccddee00",
            "33221142-4455-7766-8899-aabbccddeeff",
            "3322114255447766-8899-aabbccddeeff",
            "u-1",
        ] {
            assert!(!old.is_same_as(&id(other)), "{other}");
            assert!(!id(other).is_same_as(&old), "{other}");
        }
        let accents = id("äääädddd-4455-6677-8899-aabbccddeeff");
        assert!(!accents.is_same_as(&old));
    }
}
