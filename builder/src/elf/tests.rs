use super::dynamic::check_versions;
use super::test_elf::TestElf;
use super::*;

fn refused(bytes: &[u8]) -> String {
    runs_on_centos7(bytes).unwrap_err().to_string()
}

fn asks(versions: &[&str]) -> Result<Linkage, NotForCentos7> {
    let versions: Vec<_> = versions
        .iter()
        .map(|name| ("libc.so.6".to_owned(), (*name).to_owned()))
        .collect();
    check_versions(&["libc.so.6".to_owned()], &versions)
}

#[test]
fn static_programs_are_accepted() {
    let plain = TestElf::fixed();
    for one in [
        plain.clone(),
        plain.clone().kind(3),
        plain.clone().kernel([3, 2, 0]),
        plain.kernel([3, 10, 0]),
    ] {
        assert_eq!(
            runs_on_centos7(&one.bytes(4096)),
            Ok(Linkage::Static),
            "{one:?}"
        );
    }
}

#[test]
fn this_machines_ls_is_refused_for_its_symbol_versions_with_a_remedy() {
    let text = refused(&std::fs::read("/bin/ls").unwrap());
    assert!(
        text.contains("libselinux") || text.contains("GLIBC_2."),
        "{text}"
    );
    assert!(
        text.contains("--target x86_64-unknown-linux-musl"),
        "{text}"
    );
}

#[test]
fn the_symbol_versions_of_the_running_test_are_read() {
    // This test examines its own executable, which is linked either statically or against this
    // machine's glibc. This glibc must be newer than 2.17.
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    match runs_on_centos7(&own) {
        Err(NotForCentos7::TooNew { needs }) => {
            assert!(needs.iter().all(|need| need.contains(" of l")), "{needs:?}");
            assert!(
                !needs.iter().any(|need| need.starts_with("GLIBC_2.2.5 ")),
                "{needs:?}"
            );
        }
        other => assert!(matches!(other, Ok(Linkage::Static)), "{other:?}"),
    }
}

#[test]
fn symbol_versions_up_to_glibc_2_17_are_accepted_and_newer_versions_are_refused() {
    let newest = asks(&["GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.9"]).unwrap();
    assert!(
        matches!(&newest, Linkage::Dynamic { glibc: Some(version) } if version.to_string() == "2.17")
    );
    for bad in [
        "GLIBC_2.18",
        "GLIBC_2.34",
        "GLIBC_3.0",
        "GLIBC_2.17.1",
        "GLIBC_PRIVATE",
        "GLIBC_ABI_DT_RELR",
        "GCC_7.0.0",
    ] {
        let error = asks(&["GLIBC_2.2.5", bad]).unwrap_err();
        assert_eq!(
            error,
            NotForCentos7::TooNew {
                needs: vec![format!("{bad} of libc.so.6")]
            }
        );
        assert!(error.to_string().contains(bad) && error.to_string().contains("2.17"));
    }
}

#[test]
fn a_library_that_a_minimal_system_does_not_have_is_named() {
    let error =
        check_versions(&["libc.so.6".to_owned(), "libssl.so.3".to_owned()], &[]).unwrap_err();
    assert!(error.to_string().contains("libssl.so.3"), "{error}");
}

#[test]
fn the_wrong_kind_of_file_is_named() {
    let plain = TestElf::fixed();
    let mut big_endian = plain.bytes(512);
    big_endian[5] = 2;
    let mut narrow = plain.bytes(512);
    narrow[4] = 1;
    let mut freebsd = plain.bytes(512);
    freebsd[7] = 9;
    let mut library = plain.clone().kind(3).bytes(512);
    library[24..32].fill(0);
    for (bytes, says) in [
        (b"#!/bin/sh\n".to_vec(), "script"),
        (b"MZ\x90\0".to_vec(), "4d 5a 90 00"),
        (Vec::new(), "empty"),
        (
            b"\x7fELF".to_vec(),
            "truncated: the ELF header ends at byte 64, but the file ends at 4",
        ),
        (
            plain.bytes(4096)[..2000].to_vec(),
            "truncated: a loadable segment ends at byte 4096, but the file ends at 2000",
        ),
        (plain.bytes(512)[..100].to_vec(), "program header table"),
        (plain.clone().machine(183).bytes(512), "arm64"),
        (plain.clone().machine(3).bytes(512), "ELF machine 3"),
        (plain.clone().kind(1).bytes(512), "object file"),
        (plain.clone().kind(4).bytes(512), "core dump"),
        (plain.clone().kernel([3, 11, 0]).bytes(512), "Linux 3.11.0"),
        (
            plain
                .clone()
                .interpreter("/lib/ld-musl-x86_64.so.1")
                .bytes(512),
            "ld-musl",
        ),
        (
            plain
                .clone()
                .interpreter("/lib64/ld-linux-x86-64.so.2")
                .bytes(512),
            "no dynamic segment",
        ),
        (big_endian, "64-bit big-endian"),
        (narrow, "32-bit little-endian"),
        (freebsd, "OS ABI 9"),
        (library, "shared library"),
    ] {
        let text = refused(&bytes);
        assert!(text.contains(says), "expected `{says}` in: {text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_cause_a_panic(at in 0usize..4096, byte: u8, cut in 0usize..200_000) {
        let own = std::fs::read("/bin/ls").unwrap();
        let mut bytes = own[..cut.min(own.len())].to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let _ = runs_on_centos7(&bytes);
    }
}
