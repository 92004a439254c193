//! A public SSH key as in `authorized_keys`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A public SSH key, of a type that CentOS 7's OpenSSH 7.4 supports (sshkey.c).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey(String);

const TYPES: [&str; 5] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
];

const EXPECTED: &str = "expected a line from a .pub file: ssh-ed25519, ssh-rsa or \
    ecdsa-sha2-nistp256/384/521, the key, and a comment";

impl FromStr for SshKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("PRIVATE KEY") {
            return Err(
                "this is a private key: write the line from the .pub file, and replace the key \
                 pair, which is no longer secret"
                    .to_owned(),
            );
        }
        if text.starts_with(['/', '~', '.']) || (text.ends_with("pub") && !text.contains(' ')) {
            return Err(
                "this is a file name: write the line that the file contains; `builder init \
                 --ssh-key FILE` does this for you"
                    .to_owned(),
            );
        }
        if text.chars().any(char::is_control) {
            return Err(EXPECTED.to_owned());
        }
        let mut parts = text.splitn(3, ' ');
        let (Some(kind), Some(key)) = (parts.next(), parts.next()) else {
            return Err(EXPECTED.to_owned());
        };
        if !TYPES.contains(&kind) {
            return Err(EXPECTED.to_owned());
        }
        if is_whole(kind, key) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "the key after `{kind}` is truncated or altered: copy the whole line from the .pub \
                 file"
            ))
        }
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether a key in base64 consists of exactly the fields that its type requires. The first
/// field is the name of the type. A length precedes each field (RFC 4253, 6.6).
fn is_whole(kind: &str, key: &str) -> bool {
    let Ok(bytes) = BASE64.decode(key) else {
        return false;
    };
    let mut rest = bytes.as_slice();
    let mut fields = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let Ok(length) = usize::try_from(u32::from_be_bytes(*length)) else {
            return false;
        };
        let Some((field, behind)) = behind.split_at_checked(length) else {
            return false;
        };
        fields.push(field);
        rest = behind;
    }
    let size = |at: usize| fields.get(at).map_or(0, |field| field.len());
    let right = match kind {
        "ssh-ed25519" => fields.len() == 2 && size(1) == 32,
        // The fields after the type are the exponent and the modulus.
        "ssh-rsa" => fields.len() == 3 && size(2) >= 128,
        // The fields after the type are the curve and the point.
        _ => fields.len() == 3 && size(2) >= 65,
    };
    rest.is_empty() && fields.first() == Some(&kind.as_bytes()) && right
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ssh-keygen` 9.2 generated these keys.
    const GOOD: [&str; 3] = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG9B4rFIiw+jpESNIw+TajrS8TLG4p+A6N0NGinRRdn1 me@example.com",
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBIBlunsOSXNI+r3aNW7xdnXDB6GhAqonbMHzQRn0rb/GLpT/BNllz6ut3UKeIHBZWGaNjHS8KxF1Df9+SRZlMfE= me@example.com",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCZRi3dXm1hvcxKZ0x2jz16SjyCFlmh32P2gKAHvW5Jvcgm0KRdUun66NRdqVz1J1vtrQkaeFJMgV3yEIJrihIsvj5xbh/asgzMFkfEhnvF6hfMPTETSGDTYb0plQPnPU4Rm25XTJIFACFdWBUFlJlrYD0PGXSNC2rz5rtBK1a6SUqnRBXcwYVez90mN1GHTYeTEqAWkdkYWHbB0FHAlcqiR+aLixqtJ2nojh5Rvre8mH/OMlAwJKyFP1ED1cJnd9oTAo2vw/oBrsiK1V/kmHN+mYNSWYGBcUsBfOS1qur+NAAKWxV0vE+500J2vNAy4IOPC4GXLHMZTzenTeCnwNEj me@example.com",
    ];

    #[test]
    fn each_kind_of_key_is_accepted_and_a_truncated_key_is_refused() {
        for good in GOOD {
            assert_eq!(good.parse::<SshKey>().unwrap().to_string(), good);
            let mut parts = good.splitn(3, ' ');
            let (kind, key) = (parts.next().unwrap(), parts.next().unwrap());
            for cut in [4, 8, 20] {
                let cut = format!("{kind} {} me@example.com", &key[..key.len() - cut]);
                assert!(
                    cut.parse::<SshKey>().unwrap_err().contains("truncated"),
                    "{cut}"
                );
            }
        }
    }

    #[test]
    fn a_string_that_is_not_a_key_is_explained() {
        for (text, words) in [
            ("~/.ssh/id_ed25519.pub", "file name"),
            ("id.pub", "file name"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
            ("ssh-dss AAAAB3", "expected a line"),
            ("", "expected a line"),
        ] {
            assert!(
                text.parse::<SshKey>().unwrap_err().contains(words),
                "{text}"
            );
        }
    }

    #[test]
    fn a_key_cannot_contain_a_second_line() {
        let quoted = format!("{}, \"quoted\" $x", GOOD[0]);
        assert!(quoted.parse::<SshKey>().is_ok());
        assert!(format!("{quoted}\n%post").parse::<SshKey>().is_err());
    }
}
