//! Tests of `[backup]`.

use super::*;

#[test]
fn a_backup_has_defaults_and_no_secrets() {
    let with = |lines: &str| changed("[firewall]", &format!("[backup]\n{lines}\n[firewall]"));
    let plain = read(&with("")).recipe.unwrap().backup.unwrap();
    assert_eq!(
        (plain.schedule.to_string(), plain.destination.to_string()),
        ("hourly".into(), "/var/backups/etcd".into())
    );
    assert_eq!(read(GOOD).recipe.unwrap().backup, None);
    let text = with(
        "destination = \"s3://backups/etcd\"\nschedule = \"every 6 hours\"\n[backup.s3]\nendpoint = \"https://s3.example.com\"\n[backup.keep]\ndaily = 30",
    );
    let full = read(&text)
        .recipe
        .unwrap_or_else(|| panic!("{:?}", said(&text)))
        .backup
        .unwrap();
    assert!(
        full.s3.path_style && full.keep.daily == 30 && full.keep.hourly == 24,
        "{full:?}"
    );
    refused(
        &with("schedule = \"every 7 hours\""),
        "expected a number of hours that divides a day",
    );
    refused(
        &with("destination = \"/home/backups\""),
        "no snapshot can be written below /home",
    );
    refused(
        &with("destination = \"s3://backups/etcd\""),
        "the bucket's store is not specified",
    );
    refused(
        &with("[backup.s3]\nregion = \"x\""),
        "needs a destination of the form s3://",
    );
    refused(
        &with("[backup.s3]\nsecret-access-key = \"x\""),
        "the store's credentials do not belong in a recipe",
    );
    refused(
        &with("[backup.keep]\nhourly = 0\ndaily = 0\nweekly = 0\nmonthly = 0"),
        "these settings keep no snapshot",
    );
    let path =
        "destination = \"s3://b12/x\"\n[backup.s3]\nendpoint = \"https://s3.example.com/b12\"";
    refused(
        &with(path),
        "`endpoint` has a path | expected only the store's address",
    );
    let http =
        with("destination = \"s3://backups\"\n[backup.s3]\nendpoint = \"http://10.0.0.9:9000\"");
    assert!(
        said(&http)[0].contains("plain HTTP exposes the snapshots"),
        "{:?}",
        said(&http)
    );
}

#[test]
fn snapshots_can_be_compressed_and_encrypted_for_recipients() {
    const ONE: &str = "age15lp306z7aly3hwtvzc8mm90wjwkrf3slwk5nqpnxdjh293aae3esqjjpc0";
    const TWO: &str = "age1kjnnl093096ucux0wcx4pfpkvx88gg4f0j55k5azuvg9f6zqd9nqj72pce";
    let with = |lines: &str| changed("[firewall]", &format!("[backup]\n{lines}\n[firewall]"));
    let plain = read(&with("")).recipe.unwrap().backup.unwrap();
    assert!(!plain.compress && plain.age.is_empty());
    let text = with(&format!("compress = true\nage = [\"{ONE}\", \"{TWO}\"]"));
    let both = read(&text)
        .recipe
        .unwrap_or_else(|| panic!("{:?}", said(&text)))
        .backup
        .unwrap();
    assert!(both.compress && both.age[1].to_string() == TWO, "{both:?}");
    refused(
        &with("compress = \"yes\""),
        "`compress` must be true or false",
    );
    refused(
        &with(&format!("age = \"{ONE}\"")),
        "`age` must be a list of strings",
    );
    refused(
        &with("age = []"),
        "has no recipient, so no one could read the snapshots",
    );
    refused(
        &with(&format!("age = [\"{ONE}\", \"{ONE}\"]")),
        "is listed twice",
    );
    refused(
        &with("age = [\"age1abc\"]"),
        "bad value for `age` | expected an X25519 recipient",
    );
    refused(
        &with("age = [\"AGE-SECRET-KEY-1X\"]"),
        "this is a secret key",
    );
    // The finding marks the position of the wrong recipient.
    let text = with(&format!(
        "age = [\n  \"{ONE}\",\n  \"{}\",\n]",
        TWO.replace('k', "m")
    ));
    let line = 1 + text.lines().position(|line| line.contains("mjn")).unwrap();
    assert!(read(&text).recipe.is_none());
    assert!(
        said(&text)[0].starts_with(&format!("{line}:3 ")),
        "{:?}",
        said(&text)
    );
    refused(&text, "its checksum is wrong");
}
