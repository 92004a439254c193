use super::*;
use crate::documentation::{documented, keys};

/// A public key that `ssh-keygen` 9.2 generated.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG9B4rFIiw+jpESNIw+TajrS8TLG4p+A6N0NGinRRdn1";

fn options(nodes: &[&str]) -> Options {
    Options {
        recipe: "recipe.toml".into(),
        name: "prod".parse().unwrap(),
        domain: "example.com".parse().unwrap(),
        cidr: None,
        etcd: None,
        sha256: None,
        json: false,
        ssh_keys: Vec::new(),
        nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
    }
}

#[test]
fn the_recipe_has_these_nodes_and_keys_and_no_findings() {
    let keys = [KEY.to_owned(), format!("{KEY} Jane \"of\" C:\\ops")]
        .map(|key| key.parse::<SshKey>().unwrap());
    let nodes = [
        "etcd-1=10.0.0.11,52-54-00-00-00-11",
        "etcd-2=10.0.0.12",
        "etcd-3=10.0.0.13",
    ];
    let text = text(&options(&nodes), &keys).unwrap();
    let reading = recipes::recipe::read(&text);
    assert!(
        reading.findings.is_empty(),
        "{:?}\n{text}",
        reading.findings
    );
    let recipe = reading.recipe.unwrap();
    assert_eq!(recipe.nodes.len(), 3);
    assert_eq!(
        recipe.nodes[0].machine.mac,
        "52:54:00:00:00:11".parse().ok()
    );
    assert_eq!(recipe.install.ssh_keys, keys);
    assert_eq!(
        release::known(recipe.etcd.settings.version),
        Some(recipe.etcd.sha256)
    );
}

#[test]
fn without_a_key_the_only_finding_is_that_no_one_can_log_in() {
    let text = text(&options(&["etcd-1=10.0.0.11"]), &[]).unwrap();
    let reading = recipes::recipe::read(&text);
    let [finding] = reading.findings.as_slice() else {
        panic!("{:?}\n{text}", reading.findings)
    };
    assert!(finding.message.contains("no one can log in"), "{finding:?}");
    assert!(
        finding.help.as_ref().unwrap().contains("--ssh-key FILE"),
        "{finding:?}"
    );
    assert!(reading.recipe.is_some());
}

#[test]
fn a_key_in_several_files_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let one = file("id.pub", &format!("{KEY} me\r\n"));
    let more = file(
        "authorized_keys",
        &format!("# operators\n\n{KEY} me\n{KEY} you\n"),
    );
    let keys: Vec<String> = ssh_keys(&[one, more])
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(keys, [format!("{KEY} me"), format!("{KEY} you")]);
}

#[test]
fn a_file_without_a_public_key_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("id");
    for (text, words) in [
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n",
            "id is a private key, which must stay secret",
        ),
        (
            "PuTTY-User-Key-File-3: ssh-ed25519\n",
            "id is a private key",
        ),
        (
            &format!("{KEY} me\n{} me\n", &KEY[..KEY.len() - 8]),
            "id:2: not a public SSH key: the key after",
        ),
        (
            "ssh-dss AAAAB3 me\n",
            "id:1: not a public SSH key: expected a line from a .pub file",
        ),
        ("# nothing\n", "id has no public SSH key"),
    ] {
        fs::write(&path, text).unwrap();
        let error = ssh_keys(std::slice::from_ref(&path))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(words) && !error.contains("b3Blbn"),
            "{error}"
        );
    }
}

#[test]
fn a_version_with_an_unknown_digest_requires_the_sha256_option() {
    let unknown = Options {
        etcd: "3.5.1".parse().ok(),
        ..options(&["a=10.0.0.1"])
    };
    assert!(
        text(&unknown, &[])
            .unwrap_err()
            .to_string()
            .contains("--sha256")
    );
    let given = Options {
        sha256: "7".repeat(64).parse().ok(),
        ..unknown
    };
    assert!(text(&given, &[]).unwrap().contains("version = \"3.5.1\""));
    let wrong = Options {
        etcd: None,
        ..given
    };
    let error = text(&wrong, &[]).unwrap_err().to_string();
    assert!(
        error.contains("--sha256 is not the digest of etcd") && !error.contains("recipe.toml"),
        "{error}"
    );
}

#[test]
fn only_an_existing_recipe_is_to_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let existing = folder.path().join("recipe.toml");
    fs::write(&existing, "mine").unwrap();
    for (recipe, is_existing) in [
        (existing.clone(), true),
        (folder.path().join("gone/recipe.toml"), false),
    ] {
        let options = Options {
            recipe,
            ..options(&["etcd-1=10.0.0.11"])
        };
        let error = format!("{:#}", run(&options).unwrap_err());
        assert_eq!(error.contains("remove the file"), is_existing, "{error}");
        assert!(error.contains("recipe.toml"), "{error}");
    }
    assert_eq!(fs::read_to_string(existing).unwrap(), "mine");
}

#[test]
fn a_recipe_whose_name_does_not_end_with_toml_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        recipe: folder.path().join("recipe.txt"),
        ..options(&["etcd-1=10.0.0.11"])
    };
    let error = run(&options).unwrap_err().to_string();
    assert!(
        error.contains("recipe.txt: the name of a recipe must end with .toml"),
        "{error}"
    );
    assert!(!options.recipe.exists());
}

#[test]
fn nodes_that_make_a_wrong_recipe_are_named_and_no_recipe_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("r2.toml");
    for (nodes, wrong) in [
        (["a=10.0.0.11", "a=10.0.0.12"], "a=10.0.0.12"),
        (["a=10.0.0.11", "b=10.0.0.11"], "b=10.0.0.11"),
    ] {
        let options = Options {
            recipe: recipe.clone(),
            ..options(&nodes)
        };
        let error = run(&options).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains(&format!("the argument `{wrong}`: "))
                && text.contains("no recipe was written")
                && !text.contains("r2.toml:"),
            "{text}"
        );
        assert_eq!(crate::exit::code_of(&error), 3);
        assert!(!recipe.exists());
    }
}

#[test]
fn nodes_outside_the_first_nodes_network_need_the_cidr_option() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("recipe.toml");
    let guessed = Options {
        recipe: recipe.clone(),
        ..options(&["a=10.0.0.11", "b=10.0.1.12"])
    };
    let error = format!("{:#}", run(&guessed).unwrap_err());
    assert!(
        error.contains("the argument `b=10.0.1.12`: ") && error.contains("--cidr NETWORK"),
        "{error}"
    );
    let wrong = Options {
        cidr: "10.0.0.1/32".parse().ok(),
        ..guessed
    };
    let error = format!("{:#}", run(&wrong).unwrap_err());
    assert!(error.contains("10.0.0.1/32"), "{error}");
    let given = Options {
        cidr: "10.0.0.0/22".parse().ok(),
        ..wrong
    };
    run(&given).unwrap();
    let written = recipes::recipe::read(&fs::read_to_string(recipe).unwrap());
    assert_eq!(
        written
            .recipe
            .unwrap()
            .cluster_document()
            .network
            .cidr
            .to_string(),
        "10.0.0.0/22"
    );
}

#[test]
fn an_invalid_node_is_refused_with_its_fault() {
    for (text, words) in [
        ("etcd-1", "NAME=ADDRESS"),
        ("etcd_1=10.0.0.1", "`_` is not allowed"),
        ("a=10.0.0", "`10.0.0`: expected an IPv4 address"),
        ("a=10.0.0.1:2379", "without a port"),
        ("a=10.0.0.1,52:54", "not a MAC address"),
    ] {
        let error = text.parse::<Node>().unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn the_documentation_lists_exactly_the_keys_of_a_written_recipe() {
    let written = Written {
        recipe: "recipe.toml".into(),
    };
    assert_eq!(documented("json.md", "builder init"), keys(&written));
}
