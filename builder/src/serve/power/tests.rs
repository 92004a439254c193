//! Tests that check when a machine is switched on or off, and how the command is called.

use std::cell::RefCell;
use std::fs;

use super::*;

const RETRIES: u32 = 1;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn recorded(seconds: u64, installation: &Installation) -> Recorded {
    (at(seconds), Some(installation.clone()))
}

#[test]
fn a_machine_is_switched_once_for_each_permission_and_each_failed_attempt() {
    let wants = |before: Option<&Recorded>, now: &Recorded| wants_netboot(before, now, RETRIES);
    let mut installation = Installation::allowed();
    let allowed = recorded(1, &installation);
    assert!(wants(None, &allowed));
    assert!(!wants(Some(&allowed), &allowed), "nothing has changed");
    let allowed_again = recorded(2, &installation);
    assert!(wants(Some(&allowed), &allowed_again));

    installation.note_sent("one".to_owned(), at(3));
    let sent = recorded(3, &installation);
    assert!(!wants(Some(&allowed), &sent), "it has begun");
    let fail = |installation: &mut Installation, token: &str, when| {
        let reported = installation.report(token, InstallStage::Failed, None, at(when));
        reported.unwrap();
        recorded(when, installation)
    };
    let failed = fail(&mut installation, "one", 4);
    assert!(wants(Some(&sent), &failed));
    let failed_twice = fail(&mut installation, "one", 5);
    assert!(
        !wants(Some(&failed), &failed_twice),
        "the report arrived twice"
    );

    installation.note_sent("two".to_owned(), at(6));
    let held = fail(&mut installation, "two", 7);
    assert!(!wants(Some(&failed), &held), "no attempt is left");

    let mut done = Installation::allowed();
    done.note_sent("t".to_owned(), at(8));
    done.report("t", InstallStage::Installed, None, at(9))
        .unwrap();
    assert!(!wants(Some(&allowed), &recorded(9, &done)));
    assert!(!wants(None, &(at(9), None)), "the record is damaged");
}

#[test]
fn a_record_that_cannot_be_read_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let node: Label = "etcd-1".parse().unwrap();
    let power = Power(Arc::new(Shared {
        program: PathBuf::from("true"),
        record: Record::new(dir.path(), &"demo".parse().unwrap()),
        retries: RETRIES,
        log: Log::start(false, None).unwrap(),
        results: Mutex::default(),
    }));
    let path = dir.path().join("demo/etcd-1/install.json");
    let put = |installation: &Installation, when| {
        let record = &power.0.record;
        record.put_installation(&node, installation).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(when).unwrap();
    };
    let mut done = Installation::allowed();
    done.note_document(at(1));
    put(&done, at(1));
    let seen = power.read(&BTreeMap::new()).unwrap();
    assert_eq!(seen[&node].1, Some(done));

    put(&Installation::allowed(), at(2));
    // A folder cannot be read as a file.
    let aside = dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    let unreadable = power.read(&seen).unwrap();
    assert_eq!(unreadable, seen);
    fs::remove_dir(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    let now = power.read(&unreadable).unwrap();
    assert!(wants_netboot(unreadable.get(&node), &now[&node], RETRIES));
}

/// Runs the sequence with a command that fails for these actions. Returns the calls and the result.
fn sequence(failing: &[Action], current: usize) -> (Vec<String>, Result<String, String>) {
    let calls = RefCell::new(Vec::new());
    let result = boot_from_network(
        |action| {
            calls.borrow_mut().push(action.to_string());
            if failing.contains(&action) {
                return Err(io::Error::other("no"));
            }
            Ok(())
        },
        || calls.borrow().len() < current,
        Duration::ZERO,
    );
    (calls.into_inner(), result)
}

#[test]
fn a_machine_that_cannot_be_cycled_is_switched_off_and_on() {
    use Action::{Cycle, Netboot, Off, On};
    let (calls, result) = sequence(&[], 9);
    assert_eq!(calls, ["netboot", "cycle"]);
    assert!(result.is_ok());
    let (calls, result) = sequence(&[Cycle], 9);
    assert_eq!(calls, ["netboot", "cycle", "off", "on"]);
    assert!(result.is_ok());
    let (calls, result) = sequence(&[Netboot], 9);
    assert_eq!(calls, ["netboot"], "it would boot from its disk");
    assert_eq!(result.unwrap_err(), "netboot failed: no");
    let (calls, result) = sequence(&[Cycle, On], 9);
    assert_eq!(calls, ["netboot", "cycle", "off", "on"]);
    assert_eq!(result.unwrap_err(), "cycle failed: no; on failed: no");
    let (calls, result) = sequence(&[Cycle, Off], 9);
    assert_eq!(
        calls,
        ["netboot", "cycle", "off", "on"],
        "a controller may refuse to switch off a machine that is off"
    );
    assert_eq!(
        result.unwrap_err(),
        "cycle failed: no; off failed: no; `netboot` and `on` succeeded"
    );
    let (_, result) = sequence(&[Cycle, Off, On], 9);
    assert_eq!(
        result.unwrap_err(),
        "cycle failed: no; off failed: no; on failed: no"
    );
}

#[test]
fn a_machine_whose_installation_has_begun_is_not_switched() {
    assert!(sequence(&[], 0).0.is_empty());
    let (calls, result) = sequence(&[], 1);
    assert_eq!(calls, ["netboot"]);
    assert!(result.unwrap().contains("has begun"));
}

fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("power command");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[test]
fn the_command_gets_the_node_and_the_action_as_arguments() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("calls");
    let text = format!("echo \"$#:$1:$2\" >> {}", out.display());
    let program = script(dir.path(), &text);
    check_program(&program).unwrap();
    let node = "etcd-1".parse().unwrap();
    for action in [Action::On, Action::Off, Action::Cycle, Action::Netboot] {
        call(&program, &node, action, CALL_TIMEOUT).unwrap();
    }
    assert_eq!(
        fs::read_to_string(out).unwrap(),
        "2:etcd-1:on\n2:etcd-1:off\n2:etcd-1:cycle\n2:etcd-1:netboot\n"
    );
}

#[test]
fn a_failure_contains_what_the_command_printed() {
    let dir = tempfile::tempdir().unwrap();
    let node = "etcd-1".parse().unwrap();
    let program = script(dir.path(), "echo 'no route to bmc' >&2; exit 7");
    let failed = call(&program, &node, Action::On, CALL_TIMEOUT).unwrap_err();
    assert!(
        failed.to_string().contains("exit status: 7") && failed.to_string().contains("no route"),
        "{failed}"
    );
    // This command prints more bytes than fit into a pipe's buffer.
    let program = script(
        dir.path(),
        "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1",
    );
    let long = call(&program, &node, Action::On, CALL_TIMEOUT).unwrap_err();
    assert!(long.to_string().len() < 1200);
    let program = script(dir.path(), "exec sleep 60");
    let hung = call(&program, &node, Action::On, Duration::from_millis(100)).unwrap_err();
    assert!(hung.to_string().contains("was killed"), "{hung}");
}

#[test]
fn a_command_with_arguments_or_without_a_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let program = script(dir.path(), "");
    let with_words = PathBuf::from(format!("{} -v", program.display()));
    assert!(check_program(&with_words).is_err());
    assert!(check_program(dir.path()).is_err());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o600)).unwrap();
    let error = check_program(&program).unwrap_err().to_string();
    assert!(error.contains("not an executable file"), "{error}");
}
