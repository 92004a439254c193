//! The kernel's settings: a profile from kickstart/tuning/, with the recipe's own keys in place of its.

use recipes::recipe::{Profile, Tuning};
use serde::Serialize;

/// One sysctl key, what it is set to, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) why: String,
}

const GUIDE: &str = include_str!("../../kickstart/tuning/guide.conf");
const ETCD: &str = include_str!("../../kickstart/tuning/etcd.conf");

/// The settings of a recipe, in the profile's order, the recipe's own additions last.
pub(crate) fn settings(tuning: &Tuning) -> Vec<Setting> {
    let mut settings = parse(match tuning.profile {
        Profile::Guide => GUIDE,
        Profile::Etcd => ETCD,
    });
    for (key, value) in &tuning.sysctl {
        let (key, value) = (key.to_string(), value.clone());
        let why = "The recipe's own, under [tuning.sysctl].".to_owned();
        match settings.iter_mut().find(|setting| setting.key == key) {
            Some(setting) => *setting = Setting { key, value, why },
            None => settings.push(Setting { key, value, why }),
        }
    }
    settings
}

/// Reads sysctl.d's syntax. A comment is the reason for the keys below it, down to the next empty line.
fn parse(text: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut why: Vec<&str> = Vec::new();
    let mut commenting = false;
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix('#') {
            if !commenting {
                why.clear();
            }
            why.push(comment.trim());
            commenting = true;
            continue;
        }
        commenting = false;
        if line.is_empty() {
            why.clear();
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            settings.push(Setting { key, value, why: why.join("\n") });
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_the_reason_for_the_keys_below_it() {
        let settings = parse("# about the file\n\n# why a\n# and b\na.x = 1\nb.x=2 3\n\nc.x = 4\n");
        let shown: Vec<_> = settings.iter().map(|s| (s.key.as_str(), s.value.as_str(), s.why.as_str())).collect();
        assert_eq!(shown, [("a.x", "1", "why a\nand b"), ("b.x", "2 3", "why a\nand b"), ("c.x", "4", "")]);
    }

    #[test]
    fn the_guide_is_followed_to_the_letter_and_its_keys_stand_once() {
        let settings = parse(GUIDE);
        let mut keys: Vec<&str> = settings.iter().map(|setting| setting.key.as_str()).collect();
        assert_eq!(keys.len(), 51);
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 51);
        assert!(settings.iter().any(|s| s.key == "vm.dirty_ratio" && s.value == "60"));
    }

    #[test]
    fn a_recipe_may_replace_and_add() {
        let own = |key: &str, value: &str| (key.parse().unwrap(), value.to_owned());
        let sysctl = vec![own("vm.swappiness", "7"), own("kernel.threads-max", "9999")];
        let settings = settings(&Tuning { profile: Profile::Etcd, sysctl });
        assert_eq!(settings.iter().filter(|s| s.key == "vm.swappiness" && s.value == "7").count(), 1);
        assert_eq!(settings.iter().filter(|s| s.key == "vm.swappiness").count(), 1);
        assert_eq!(settings.last().unwrap().key, "kernel.threads-max");
    }
}
