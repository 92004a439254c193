//! Tests the timer with which nodes renew their certificates.

use super::*;

#[test]
fn only_a_recipe_whose_nodes_enrol_has_the_renewal_timer() {
    const TIMER: &str = "etc/systemd/system/firstboot-renew.timer";
    const PRESET: &str = "usr/lib/systemd/system-preset/10-etcd.preset";
    let by_hand = overlay(&recipe("[tls]\nkeys = \"node\"\n")).unwrap();
    assert!(
        by_hand
            .iter()
            .all(|file| !file.path.contains("firstboot-renew"))
    );
    assert!(!file(&by_hand, PRESET).contains("firstboot-renew"));
    for (lifetime, every) in [
        ("certificate-days = 1095", 600),
        ("certificate-days = 1", 600),
        ("certificate-minutes = 10", 10),
        ("certificate-minutes = 1", 1),
    ] {
        let tls = "[tls]\nkeys = \"node\"\nenrol = \"https://10.101.15.1:8443/\"\n";
        let enrolling = recipe(&format!("{tls}{lifetime}\n"));
        let files = overlay(&enrolling).unwrap();
        let timer = file(&files, TIMER);
        assert!(
            timer.contains(&format!("\nOnUnitInactiveSec={every}\n")),
            "{timer}"
        );
        assert!(file(&files, PRESET).contains("\nenable firstboot-renew.timer\n"));
        let kickstart = kickstart(&enrolling, OverlayDigests::NONE).unwrap();
        assert!(kickstart.contains("systemctl preset firstboot-renew.timer\n"));
    }
}
