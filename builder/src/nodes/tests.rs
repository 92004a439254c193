use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use recipes::Envelope;
use recipes::node::{DocumentCertificate, NodeTls};
use time::OffsetDateTime;

use super::*;
use crate::pki::{self, Authority, ClusterRecord, Lifetimes, Opener};

pub(crate) fn key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
}

pub(crate) fn document() -> NodeDocument {
    let pair = || DocumentCertificate {
        cert: "cert\n".repeat(200),
        key: Some("key\n".repeat(60)),
    };
    NodeDocument {
        cluster: "demo".parse().unwrap(),
        name: "etcd-1".parse().unwrap(),
        address: Ipv4Addr::new(10, 101, 15, 101),
        machine: recipes::MachineMatch {
            mac: Some("52:54:00:00:00:01".parse().unwrap()),
            ..Default::default()
        },
        tls: NodeTls {
            ca: "ca\n".to_owned(),
            server: pair(),
            peer: pair(),
            client: pair(),
        },
        previous_ca_tls: None,
        store_keys: None,
        release: None,
    }
}

fn file<'a>(files: &'a [(&str, Vec<u8>)], name: &str) -> &'a [u8] {
    &files.iter().find(|(found, _)| *found == name).unwrap().1
}

#[test]
fn the_same_document_produces_the_same_files() {
    let key = key();
    assert!(documents(&document(), &key).unwrap() == documents(&document(), &key).unwrap());
}

#[test]
fn the_instance_id_changes_with_the_document() {
    let key = key();
    let meta = |document: &NodeDocument| -> serde_json::Value {
        serde_json::from_slice(file(&documents(document, &key).unwrap(), "meta-data")).unwrap()
    };
    let one = meta(&document());
    assert_eq!(one["local-hostname"], "etcd-1");
    assert!(
        one["instance-id"]
            .as_str()
            .unwrap()
            .starts_with("demo-etcd-1-")
    );
    let mut other = document();
    other.tls.ca.push(' ');
    assert_ne!(one["instance-id"], meta(&other)["instance-id"]);
}

#[test]
fn a_node_gets_new_certificates_when_its_machine_or_the_store_keys_change() {
    let dir = tempfile::tempdir().unwrap();
    let pki_dir = dir.path().join("pki");
    let reading = recipes::recipe::read(include_str!("../../../recipes/three-node.toml"));
    let mut recipe = reading.recipe.unwrap();
    let build = |recipe: &Recipe| {
        let mut pki = pki::open(
            Opener::Build,
            &pki_dir,
            &ClusterRecord::from(recipe),
            &Authority::Own,
            Lifetimes::from(&recipe.tls),
            OffsetDateTime::now_utc(),
        )
        .unwrap();
        match issue(recipe, &mut pki, &recipe.nodes[0]).unwrap() {
            Node::Enrolled(document) => *document,
            Node::Awaited(_) => unreachable!("the document contains the keys"),
        }
    };
    let first = build(&recipe);
    assert_eq!(build(&recipe), first);
    recipe.nodes[0].machine.serial = Some("SERIAL-2".parse().unwrap());
    let second = build(&recipe);
    assert_ne!(second.tls.client, first.tls.client);
    let path = pki_dir.join("s3-keys");
    fs::write(&path, "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let third = build(&recipe);
    assert_ne!(third.tls.client, second.tls.client);
    assert_eq!(build(&recipe), third);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_document_is_read_back_unchanged(
        name in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?",
        address: u32,
        pem in "(\\PC|\n){0,3000}",
    ) {
        let key = key();
        let mut document = document();
        document.name = name.parse().unwrap();
        document.address = Ipv4Addr::from(address);
        document.tls.peer.cert = pem;
        let files = documents(&document, &key).unwrap();
        prop_assert_eq!(file(&files, "node.json"), file(&files, "user-data"));
        let envelope: Envelope = serde_json::from_slice(file(&files, "node.json")).unwrap();
        let payload = envelope.open(NODE_TYPE, &key.public()).unwrap();
        prop_assert_eq!(serde_json::from_slice::<NodeDocument>(&payload).unwrap(), document);
    }
}

fn ask(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program)
        .args(args)
        .stderr(Stdio::inherit())
        .output()
    {
        Ok(output) => {
            assert!(output.status.success(), "{program} {args:?}: {output:?}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            eprintln!("SKIPPED: {program} is not available ({error})");
            None
        }
    }
}

#[test]
fn other_programs_read_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &Node::Enrolled(Box::new(document())), &key()).unwrap();
    let folder = dir.path().join("nodes/etcd-1");
    let seed = folder.join("seed.img");
    let seed = seed.to_str().unwrap();
    if let Some(text) = ask("blkid", &["-p", seed]) {
        for expected in [
            "LABEL=\"cidata\"",
            "LABEL_FATBOOT=\"cidata\"",
            "TYPE=\"vfat\"",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
    ask("fsck.fat", &["-n", seed]);
    let user_data = fs::read_to_string(folder.join("user-data")).unwrap();
    if let Some(text) = ask("mtype", &["-i", seed, "::user-data"]) {
        assert_eq!(text, user_data);
    }
    let mount = dir.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let mount = mount.to_str().unwrap();
    let mounted = Command::new("mount")
        .args(["-o", "loop,ro", seed, mount])
        .status()
        .is_ok_and(|s| s.success());
    if mounted {
        let read = fs::read_to_string(Path::new(mount).join("user-data"));
        ask("umount", &[mount]);
        assert_eq!(read.unwrap(), user_data);
    } else {
        eprintln!("SKIPPED: mounting the seed requires root and a loop device");
    }
}

#[test]
fn only_the_owner_can_read_the_files_under_any_umask() {
    for umask in ["000", "077"] {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("umask {umask}; exec \"$0\" --exact nodes::tests::child --ignored");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env("NODES_TEST_FOLDER", dir.path());
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
        let folder = dir.path().join("nodes/etcd-1");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            (mode(&dir.path().join("nodes")), mode(&folder)),
            (0o700, 0o700)
        );
        for name in ["node.json", "meta-data", "user-data", "seed.img"] {
            assert_eq!(
                mode(&folder.join(name)),
                0o600,
                "{name} under umask {umask}"
            );
        }
    }
}

#[test]
#[ignore = "run by only_the_owner_can_read_the_files_under_any_umask, in its own process"]
fn child() {
    // `make test-all` also runs this function as a separate test. That run does not set
    // NODES_TEST_FOLDER, so the function does nothing.
    let Some(folder) = std::env::var_os("NODES_TEST_FOLDER") else {
        return;
    };
    write(
        &PathBuf::from(folder),
        &Node::Enrolled(Box::new(document())),
        &key(),
    )
    .unwrap();
}
