//! Tests encryption and decryption against each other and, if the `age` program is installed (see
//! tests/tools.sh), against that program.

use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use bech32::{Bech32, Hrp};
use proptest::prelude::*;

use super::*;

/// A fixed identity, which is not secret, and its recipient.
pub(in super::super) static SECRET: LazyLock<String> =
    LazyLock::new(|| text("age-secret-key-", &OWN).to_ascii_uppercase());
pub(in super::super) static PUBLIC: LazyLock<String> =
    LazyLock::new(|| text("age", &x25519(OWN, X25519_BASEPOINT_BYTES)));
const OWN: [u8; 32] = [7; 32];
const OTHER: &str = "age1kjnnl093096ucux0wcx4pfpkvx88gg4f0j55k5azuvg9f6zqd9nqj72pce";
const SIZES: [usize; 8] = [
    0,
    1,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    2 * CHUNK,
    3 * CHUNK - 7,
    5 * CHUNK,
];

fn text(prefix: &str, key: &[u8]) -> String {
    bech32::encode::<Bech32>(Hrp::parse(prefix).unwrap(), key).unwrap()
}

fn recipients(texts: &[&str]) -> Vec<Recipient> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn sealed(plain: &[u8], to: &[&str]) -> Vec<u8> {
    let mut sealer = Encryptor::begin(&recipients(to), Vec::new()).unwrap();
    // Write pieces whose boundaries differ from the boundaries of the chunks.
    plain
        .chunks(10_007)
        .for_each(|piece| sealer.write_all(piece).unwrap());
    sealer.finish().unwrap()
}

fn opened(sealed: &[u8], identity: &str) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    Decryptor::begin(sealed, &Identities::parse(identity).unwrap())?.read_to_end(&mut plain)?;
    Ok(plain)
}

fn some(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect()
}

#[test]
fn only_the_recipients_can_decrypt() {
    for size in SIZES {
        let plain = some(size);
        assert_eq!(
            opened(&sealed(&plain, &[OTHER, &PUBLIC]), &SECRET).unwrap(),
            plain,
            "{size}"
        );
    }
    let error = opened(&sealed(b"x", &[OTHER]), &SECRET)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("none of the identities belongs to a recipient of the encrypted file"),
        "{error}"
    );
}

/// Returns the file sizes to test with the `age` program. If the program is not installed, returns
/// no sizes, and prints a message that the test harness does not capture. An end-to-end test also
/// runs the `age` program, with snapshots.
fn sizes_for_age(test: &str) -> Vec<usize> {
    if Command::new("age")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok()
    {
        return SIZES.to_vec();
    }
    let _ = writeln!(io::stderr(), "ignored: {test}: it needs age (Debian: age)");
    Vec::new()
}

#[test]
fn the_age_program_decrypts_files_that_firstboot_encrypted() {
    for size in sizes_for_age("the_age_program_decrypts_files_that_firstboot_encrypted") {
        let folder = tempfile::tempdir().unwrap();
        let (key, file) = (folder.path().join("key"), folder.path().join("file"));
        std::fs::write(&key, SECRET.as_str()).unwrap();
        std::fs::write(&file, sealed(&some(size), &[OTHER, &PUBLIC])).unwrap();
        let theirs = Command::new("age")
            .arg("-d")
            .arg("-i")
            .arg(&key)
            .arg(&file)
            .output()
            .unwrap();
        assert!(
            theirs.status.success() && theirs.stdout == some(size),
            "{size}: {:?}",
            theirs.status
        );
    }
}

#[test]
fn firstboot_decrypts_files_that_the_age_program_encrypted() {
    for size in sizes_for_age("firstboot_decrypts_files_that_the_age_program_encrypted") {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, some(size)).unwrap();
        let theirs = Command::new("age")
            .args(["-r", OTHER, "-r", &PUBLIC])
            .arg(&file)
            .output()
            .unwrap();
        assert!(theirs.status.success());
        assert_eq!(
            opened(&theirs.stdout, &SECRET).unwrap(),
            some(size),
            "{size}"
        );
    }
}

/// Returns a file that is encrypted for [`OWN`], with the stanzas in `more` and a correct MAC.
/// `own` may damage the stanza for [`OWN`].
fn with(more: &str, own: impl FnOnce(String) -> String) -> Vec<u8> {
    let (file_key, ephemeral) = ([3; 16], [9; 32]);
    let recipient = x25519(OWN, X25519_BASEPOINT_BYTES);
    let share = x25519(ephemeral, X25519_BASEPOINT_BYTES);
    let mut body = file_key.to_vec();
    let key = aead(&wrapping(ephemeral, recipient, &share, &recipient).unwrap()).unwrap();
    key.seal_in_place_append_tag(zero(), Aad::empty(), &mut body)
        .unwrap();
    let stanza = own(format!(
        "-> X25519 {}\n{}\n",
        BASE64.encode(share),
        BASE64.encode(body)
    ));
    let header = format!("age-encryption.org/v1\n{more}{stanza}---");
    let tag = BASE64.encode(mac(&file_key, header.as_bytes()));
    let mut sealer = Encryptor {
        to: Vec::new(),
        chunks: payload(&file_key, &[5; 16]).unwrap(),
        filling: Vec::new(),
    };
    sealer.write_all(b"plain").unwrap();
    [
        format!("{header} {tag}\n").as_bytes(),
        &[5; 16],
        &sealer.finish().unwrap(),
    ]
    .concat()
}

#[test]
fn stanzas_of_other_types_are_skipped_but_must_be_valid() {
    let full = "A".repeat(64);
    for good in [
        "-> odd-grease a b\nAAAA\n".to_owned(),
        "-> ! #$%&\n\n".to_owned(),
        format!("-> long\n{full}\n{full}\n\n"),
        format!("-> long\n{full}\nAAAA\n"),
    ] {
        assert_eq!(
            opened(&with(&good, |own| own), &SECRET).unwrap(),
            b"plain",
            "{good}"
        );
    }
    for bad in [
        "-> \n\n".to_owned(),
        "->\n\n".to_owned(),
        "->  two-spaces\n\n".to_owned(),
        "-> space-behind \n\n".to_owned(),
        "-> b\u{e9}\n\n".to_owned(),
        "-> tab\there\n\n".to_owned(),
        "-> carriage-return\r\n\n".to_owned(),
        "-> padded\nAAA=\n".to_owned(),
        "-> not-canonical\nAAB\n".to_owned(),
        "-> letters\n!!!!\n".to_owned(),
        format!("-> no-last-line\n{full}\n"),
        format!("-> too-long\n{full}A\n\n"),
        "-> short\nAAAA\nAAAA\n".to_owned(),
        "no stanza\n\n".to_owned(),
        "-> scrypt AAAAAAAAAAAAAAAAAAAAAA 10\nAAAA\n".to_owned(),
    ] {
        let error = opened(&with(&bad, |own| own), &SECRET).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{bad}: {error}");
    }
}

#[test]
fn the_recipients_stanza_must_be_valid() {
    assert_eq!(opened(&with("", |own| own), &SECRET).unwrap(), b"plain");
    let zeros = BASE64.encode([0; 32]);
    for spoil in [
        |own: String| own.replace("X25519 ", "X25519 more "),
        |own: String| own.replacen('\n', " more\n", 1),
        |own: String| own.replacen('\n', "\nAAAA", 1),
        |own: String| own.replacen("X25519 ", "X25519 A", 1),
    ] {
        let error = opened(&with("", spoil), &SECRET).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    }
    // This key share yields the same secret for every identity.
    let low = with("", |own| {
        format!("-> X25519 {zeros}\n{}", own.split_once('\n').unwrap().1)
    });
    assert!(
        opened(&low, &SECRET)
            .unwrap_err()
            .to_string()
            .contains("invalid key share")
    );
}

#[test]
fn a_wrong_identity_is_distinguished_from_a_damaged_header() {
    let error = opened(&sealed(b"x", &[OTHER, OTHER]), &SECRET).unwrap_err();
    assert!(
        error.kind() == ErrorKind::PermissionDenied
            && error.to_string().contains("number of recipients: 2"),
        "{error}"
    );
    let phrase = "age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 10\nAAAA\n--- "
        .to_owned()
        + &BASE64.encode([0; 32]);
    let error = opened((phrase + "\n").as_bytes(), &SECRET).unwrap_err();
    assert!(
        error.kind() == ErrorKind::PermissionDenied && error.to_string().contains("passphrase"),
        "{error}"
    );
}

/// The long header in this test has 3,000 recipients.
#[test]
fn a_long_header_is_read_and_a_too_long_header_is_not_written() {
    assert_eq!(
        opened(
            &with(
                &format!("-> x {}\n\n", "y".repeat(90)).repeat(3_000),
                |own| own
            ),
            &SECRET
        )
        .unwrap(),
        b"plain"
    );
    let error = Encryptor::begin(&vec![OTHER.parse().unwrap(); 43_000], Vec::new())
        .err()
        .unwrap();
    assert!(error.to_string().contains("43000 recipients"), "{error}");
    let endless = "age-encryption.org/v1\n".to_owned() + &"-> x\n\n".repeat(1 << 20);
    assert!(
        opened(endless.as_bytes(), &SECRET)
            .unwrap_err()
            .to_string()
            .contains("longer than 4 MiB")
    );
}

#[test]
fn a_file_without_an_identity_is_refused_and_shows_no_secret() {
    assert_eq!(
        Identities::parse(&format!("# made today\n\n {} \n", *SECRET))
            .unwrap()
            .0
            .len(),
        1
    );
    for bad in ["", "# nothing\n", &PUBLIC, &SECRET[..70]] {
        let error = Identities::parse(bad).unwrap_err();
        assert!(bad.is_empty() || !error.contains(bad), "{error}");
    }
    assert_eq!(
        format!("{:?}", Identities::parse(&SECRET).unwrap()),
        "1 identities"
    );
}

#[test]
fn identities_that_others_can_read_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), SECRET.as_str()).unwrap();
    Identities::read(file.path()).unwrap();
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o640))
        .unwrap();
    assert!(
        Identities::read(file.path())
            .unwrap_err()
            .to_string()
            .contains("chmod 600")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_header_causes_a_panic(
        lines in "(-> (X25519|scrypt|x) ?|--- ?|[A-Za-z0-9+/=]{64}\n|[A-Za-z0-9+/]{0,50}\n| |\n|é){0,12}",
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        for rest in [lines.as_bytes(), &bytes] {
            prop_assert!(opened(&[MAGIC, rest].concat(), &SECRET).is_err());
            prop_assert!(opened(rest, &SECRET).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_is_detected(size in 0..3 * CHUNK, at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut file = sealed(&some(size), &[&PUBLIC]);
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        prop_assert!(opened(&file, &SECRET).is_err(), "byte {at} of {}", file.len());
    }

    #[test]
    fn missing_and_additional_bytes_are_detected(size in 0..3 * CHUNK, cut in any::<prop::sample::Index>(), more in 1..100usize) {
        let file = sealed(&some(size), &[&PUBLIC]);
        prop_assert!(opened(&file[..cut.index(file.len())], &SECRET).is_err());
        prop_assert!(opened(&[&file[..], &vec![0; more]].concat(), &SECRET).is_err());
    }

    /// The test removes one chunk, or moves the first chunk to the end. A reader that checked each
    /// chunk separately would not detect these faults.
    #[test]
    fn missing_and_swapped_chunks_are_detected(count in 2..5usize, gone in 0..5usize) {
        let file = sealed(&some(count * CHUNK), &[&PUBLIC]);
        let begin = file.len() - count * (CHUNK + TAG);
        let chunk = |nth: usize| &file[begin + nth * (CHUNK + TAG)..begin + (nth + 1) * (CHUNK + TAG)];
        let gone = gone % count;
        let fewer: Vec<u8> = (0..count).filter(|nth| *nth != gone).flat_map(|nth| chunk(nth).to_vec()).collect();
        prop_assert!(opened(&[&file[..begin], &fewer].concat(), &SECRET).is_err());
        let swapped: Vec<u8> = (0..count).flat_map(|nth| chunk((nth + 1) % count).to_vec()).collect();
        prop_assert!(opened(&[&file[..begin], &swapped].concat(), &SECRET).is_err());
    }

    #[test]
    fn no_file_causes_a_panic(header in "(age-encryption.org/v1\n)?(-> X25519 [A-Za-z0-9+/]{0,50}\n[A-Za-z0-9+/]{0,70}\n){0,2}(--- [A-Za-z0-9+/]{0,50}\n)?",
                              rest in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(opened(&[header.as_bytes(), &rest].concat(), &SECRET).is_err());
    }
}
