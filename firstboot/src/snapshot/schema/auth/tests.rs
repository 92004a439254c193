use proptest::prelude::*;

use super::*;

const HASH: &str = "$2a$10$66Ny6jHLEagDYg7/yx1PTeC3srxcw58ZbXG1lO.cd3FvfdbzbN5ty";

fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let field = |(number, value): &(u8, &[u8])| {
        [
            &[number << 3 | 2, u8::try_from(value.len()).unwrap()],
            *value,
        ]
        .concat()
    };
    fields.iter().flat_map(field).collect()
}

fn auth() -> Auth {
    let mut auth = Auth::default();
    for name in ["reader", "writer"] {
        assert_eq!(
            auth.role(name.as_bytes(), &message(&[(1, name.as_bytes())])),
            None
        );
    }
    auth
}

#[test]
fn settings_must_be_exactly_what_etcd_expects() {
    let mut auth = Auth::default();
    assert_eq!(auth.setting(b"authEnabled", &[1]), None);
    assert!(auth.enabled);
    assert_eq!(auth.setting(b"authEnabled", &[0]), None);
    assert!(!auth.enabled);
    assert_eq!(auth.setting(b"authRevision", &9_u64.to_be_bytes()), None);
    for (key, value) in [
        (&b"authEnabled"[..], &[3][..]),
        (b"authEnabled", &[]),
        (b"authEnabled", &[1, 0]),
        (b"authEnablee", &[1]),
        (b"authRevision", &[0; 8]),
        (b"authRevision", &[1; 7]),
    ] {
        assert!(auth.setting(key, value).is_some(), "{key:?} {value:?}");
    }
}

#[test]
fn roles_are_read_as_etcd_writes_them() {
    let permission = |kind: u8, key: &[u8], end: &[u8]| {
        let kind = if kind == 0 { vec![] } else { vec![0x08, kind] };
        let some = |number, value: &[u8]| {
            if value.is_empty() {
                vec![]
            } else {
                message(&[(number, value)])
            }
        };
        [kind, some(2, key), some(3, end)].concat()
    };
    let [a, kl, k, everything, unknown] = [
        permission(0, b"a", b""),
        permission(2, b"k", b"l"),
        permission(1, b"k", b""),
        permission(0, b"", b""),
        permission(3, b"a", b""),
    ];
    let mut auth = Auth::default();
    for good in [&[][..], &[&a], &[&a, &kl, &k], &[&everything, &a]] {
        let fields: Vec<(u8, &[u8])> = std::iter::once((1, &b"r"[..]))
            .chain(good.iter().map(|one| (2, &one[..])))
            .collect();
        assert_eq!(auth.role(b"r", &message(&fields)), None, "{good:?}");
    }
    for (key, fields, why) in [
        (&b"s"[..], &[(1, &b"r"[..])][..], "name equals its key"),
        (
            b"r",
            &[(1, b"r"), (2, &k[..]), (2, &a[..])],
            "in the order of their keys",
        ),
        (b"r", &[(1, b"r"), (2, &unknown[..])], "as etcd encodes it"),
        (b"r", &[(1, b"r"), (3, b"x")], "as etcd encodes it"),
        (b"r", &[], "name equals its key"),
    ] {
        assert!(
            auth.role(key, &message(fields)).unwrap().contains(why),
            "{fields:?}"
        );
    }
}

#[test]
fn users_are_read_as_etcd_writes_them() {
    let hash = HASH.as_bytes();
    for good in [
        &[
            (1, &b"joe"[..]),
            (2, hash),
            (3, b"reader"),
            (3, b"writer"),
            (4, b""),
        ][..],
        &[(1, b"joe"), (2, hash)],
        &[(1, b"joe"), (3, b"reader"), (3, b"root"), (4, &[0x08, 1])],
    ] {
        assert_eq!(auth().user(b"joe", &message(good)), None, "{good:?}");
    }
    for (fields, why) in [
        (
            &[(1, &b"jof"[..]), (2, hash), (4, b"")][..],
            "name equals its key",
        ),
        (
            &[(1, b"joe"), (2, &hash[1..]), (4, b"")],
            "a bcrypt hash of",
        ),
        (
            &[(1, b"joe"), (2, hash), (3, b"writer"), (3, b"reader")],
            "ascending order",
        ),
        (
            &[(1, b"joe"), (2, hash), (3, b"reader"), (3, b"reader")],
            "ascending order",
        ),
        (&[(1, b"joe"), (2, hash), (3, b"readers")], "in `authRoles`"),
        (
            &[(1, b"joe"), (2, hash), (3, &[0xFF])],
            "as etcd encodes it",
        ),
        (
            &[(1, b"joe"), (2, hash), (4, &[0x08, 2])],
            "as etcd encodes it",
        ),
        (&[(1, b"joe"), (2, hash), (5, b"")], "as etcd encodes it"),
    ] {
        assert!(
            auth().user(b"joe", &message(fields)).unwrap().contains(why),
            "{fields:?}"
        );
    }
}

#[test]
fn a_password_must_be_a_bcrypt_hash() {
    assert!(is_bcrypt(HASH.as_bytes()));
    for wrong in [
        "",
        "$2a$",
        &HASH[..59],
        &HASH.replace("2a", "2c"),
        &HASH.replace("$10", "$32"),
        &HASH.replace('y', "!"),
    ] {
        assert!(!is_bcrypt(wrong.as_bytes()), "{wrong}");
    }
}

#[test]
fn authentication_requires_the_user_root() {
    let found = |auth: &Auth| {
        let mut faults = Faults::default();
        auth.finish(&mut faults);
        faults
            .first()
            .iter()
            .map(|fault| fault.expected.clone())
            .collect::<Vec<_>>()
            .join("; ")
    };
    let mut auth = auth();
    assert!(found(&auth).contains("`authRevision`"));
    auth.setting(b"authRevision", &9_u64.to_be_bytes());
    assert_eq!(found(&auth), "");
    auth.setting(b"authEnabled", &[1]);
    auth.user(b"root", &message(&[(1, b"root"), (3, b"reader")]));
    assert!(found(&auth).contains("the user `root`"));
    auth.user(b"root", &message(&[(1, b"root"), (3, b"root")]));
    assert_eq!(found(&auth), "");
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(key in prop::collection::vec(any::<u8>(), 0..20), value in prop::collection::vec(any::<u8>(), 0..90)) {
        let mut auth = auth();
        let _ = (auth.setting(&key, &value), auth.role(&key, &value), auth.user(&key, &value), is_bcrypt(&value));
    }

    /// Before the reader checked the bucket `authUsers`, a test changed 40 bits in this bucket, and
    /// the reader detected none of the changes.
    #[test]
    fn a_change_of_any_significant_bit_of_a_user_is_detected(bit in 0..8u8, at in 0..13_usize) {
        let good = message(&[(1, b"joe"), (3, b"reader")]);
        let mut harmed = good.clone();
        harmed[at] ^= 1 << bit;
        prop_assert_eq!(auth().user(b"joe", &good), None);
        prop_assert!(auth().user(b"joe", &harmed).is_some(), "{harmed:?}");
    }
}
