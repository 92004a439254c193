//! Tests that a PKI folder belongs to only one cluster.

use std::net::Ipv4Addr;

use super::*;

fn other(change: impl FnOnce(&mut ClusterRecord)) -> ClusterRecord {
    let mut cluster = cluster();
    change(&mut cluster);
    cluster
}

fn clusters() -> [(&'static str, ClusterRecord); 3] {
    [
        (
            "another name",
            other(|cluster| cluster.name = "prod".parse().unwrap()),
        ),
        (
            "another domain",
            other(|cluster| cluster.domain = "example.com".parse().unwrap()),
        ),
        (
            "other addresses under default names",
            Node::new("etcd-1").cluster(201),
        ),
    ]
}

fn open_for(folder: &Folder, cluster: &ClusterRecord) -> Result<Pki, PkiError> {
    open(&folder.path(), cluster, &Authority::Own, LIFETIMES, now())
}

/// Returns every file below the folder, with its content.
fn contents(folder: &Folder) -> Vec<(String, Vec<u8>)> {
    let files = folder
        .modes()
        .into_iter()
        .filter(|(name, _)| folder.file(name).is_file());
    files
        .map(|(name, _)| (name.clone(), fs::read(folder.file(&name)).unwrap()))
        .collect()
}

#[track_caller]
fn refused(what: &str, folder: &Folder, cluster: &ClusterRecord) -> String {
    let before = contents(folder);
    let error = open_for(folder, cluster).map(drop).unwrap_err().to_string();
    assert!(
        error.contains("this PKI folder belongs to the cluster `demo`"),
        "{what}: {error}"
    );
    assert!(
        error.contains("--pki") && error.contains("builder pki assign"),
        "{what}: {error}"
    );
    assert_eq!(
        contents(folder),
        before,
        "{what}: a refused build wrote files"
    );
    error
}

#[test]
fn a_folder_refuses_another_cluster_and_stays_unchanged() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    for (what, cluster) in clusters() {
        let error = refused(what, &folder, &cluster);
        assert!(error.contains(&cluster.to_string()), "{what}: {error}");
    }
    folder.node(now(), 101).unwrap();
}

#[test]
fn a_cluster_that_changes_step_by_step_keeps_its_folder() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    let two: Ipv4Addr = [10, 101, 15, 102].into();
    let mut grown = cluster();
    grown.nodes.insert("etcd-2".parse().unwrap(), two);
    open_for(&folder, &grown).unwrap();
    // The first node has a new address. The previous build added the second node to the folder's
    // record.
    open_for(
        &folder,
        &other(|cluster| {
            cluster.nodes = [
                ("etcd-1".parse().unwrap(), [10, 101, 15, 201].into()),
                ("etcd-2".parse().unwrap(), two),
            ]
            .into();
        }),
    )
    .unwrap();
    refused("the first build's record", &folder, &cluster());
}

#[test]
fn a_folder_without_a_record_is_identified_by_its_certificates() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    for (what, cluster) in clusters() {
        fs::remove_file(folder.file("cluster.json")).unwrap();
        let before = contents(&folder);
        let error = open_for(&folder, &cluster)
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("this PKI folder belongs to the cluster") && error.contains(".crt"),
            "{what}: {error}"
        );
        assert_eq!(
            contents(&folder),
            before,
            "{what}: a refused build wrote files"
        );
        open_for(&folder, &super::cluster()).unwrap();
        assert!(
            folder.file("cluster.json").exists(),
            "{what}: the record was not written"
        );
    }
}

#[test]
fn both_clusters_that_have_shared_a_folder_are_refused() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    let (_, prod) = &clusters()[0];
    // An earlier version of the builder, which kept no record, let the second cluster's node
    // replace the first cluster's certificates.
    assign(&folder.path(), prod, now()).unwrap();
    let mut pki = open_for(&folder, prod).unwrap();
    let node = Node {
        cluster: prod.name.clone(),
        ..Node::new("etcd-1")
    };
    fs::remove_dir_all(folder.file("nodes/etcd-1")).unwrap();
    folder_of(&mut pki, &node, 101);
    drop(pki);
    let (name, pair) = (
        "nodes/etcd-1/server.crt.old-20270115T080000Z",
        Folder::new(),
    );
    pair.node(now(), 101).unwrap();
    fs::copy(pair.file("nodes/etcd-1/server.crt"), folder.file(name)).unwrap();
    fs::remove_file(folder.file("cluster.json")).unwrap();
    let errors = [&cluster(), prod].map(|cluster| {
        open_for(&folder, cluster)
            .map(drop)
            .unwrap_err()
            .to_string()
    });
    assert!(
        errors[0].contains("`prod`") && errors[1].contains("`demo`") && errors[1].contains(".old-"),
        "{errors:?}"
    );
}

fn folder_of(pki: &mut Pki, node: &Node, last: u8) {
    pki.node_tls(&node.at(last)).unwrap();
}

#[test]
fn a_folder_without_certificates_belongs_to_no_cluster() {
    let folder = Folder::new();
    folder.open(now()).unwrap();
    fs::remove_file(folder.file("cluster.json")).unwrap();
    open_for(&folder, &clusters()[0].1).unwrap();
    refused_by_prod(&folder);
}

fn refused_by_prod(folder: &Folder) {
    let error = open_for(folder, &cluster())
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(error.contains("belongs to the cluster `prod`"), "{error}");
}

#[test]
fn a_renamed_cluster_keeps_its_folder_after_an_assignment() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    let (_, prod) = &clusters()[0];
    let event = assign(&folder.path(), prod, now()).unwrap();
    assert!(event.to_string().contains(".old-"), "{event}");
    open_for(&folder, prod).unwrap();
    refused_by_prod(&folder);
    let error = assign(Path::new("/no/folder"), prod, now())
        .unwrap_err()
        .to_string();
    assert!(error.contains("no ca.crt"), "{error}");
}

#[test]
fn a_damaged_record_is_named() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    fs::write(folder.file("cluster.json"), "{\"name\":").unwrap();
    let error = open_for(&folder, &cluster())
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cluster.json") && error.contains("builder pki assign"),
        "{error}"
    );
}

#[test]
fn ready_made_certificates_identify_the_cluster_by_their_names() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    fs::remove_file(folder.file("ca.key")).unwrap();
    fs::remove_file(folder.file("cluster.json")).unwrap();
    // The organization of ready-made certificates is not checked, because their issuer chose it.
    open_for(&folder, &clusters()[0].1).unwrap();
    fs::remove_file(folder.file("cluster.json")).unwrap();
    let error = open_for(&folder, &clusters()[1].1)
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(error.contains("DNS:etcd-1.cluster.local"), "{error}");
    assert!(!folder.file("cluster.json").exists());
}

/// A server reads its recipe, and then waits until a build of a newer recipe has ended.
#[test]
fn an_answer_to_a_request_does_not_record_an_older_recipe() {
    let folder = Folder::new();
    let older = cluster();
    let newer = other(|cluster| {
        let added = [10, 101, 15, 104].into();
        cluster.nodes.insert("etcd-4".parse().unwrap(), added);
    });
    let mut build = open_for(&folder, &newer).unwrap();
    build.node_tls(&Node::new("etcd-1").at(101)).unwrap();
    drop(build);
    let (path, own) = (folder.path(), Authority::Own);
    let answer = |cluster: &ClusterRecord| {
        crate::pki::open(Opener::Signer, &path, cluster, &own, LIFETIMES, now()).unwrap()
    };
    let pki = answer(&older);
    assert!(is_of(&path, &newer), "the older recipe is recorded");
    let name = "etcd-1".parse().unwrap();
    pki.check_built(&name, [10, 101, 15, 101].into()).unwrap();
    let moved = pki.check_built(&name, [10, 101, 15, 111].into());
    let error = moved.unwrap_err().to_string();
    assert!(error.ends_with("[not-built]"), "{error}");
}
