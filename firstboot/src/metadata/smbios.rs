//! Reads the location of the document from an OEM string of the firmware (SMBIOS type 11), in the
//! syntax of the kernel command line. A hypervisor can pass the string to a machine without
//! changing the machine's disk or boot loader, and only root can read the string.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::cluster::MetadataSource;

use super::document::LIMIT;
use super::location;
use super::source::{Query, Source, SourceResult};
use crate::files;

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::Smbios,
    find: |query| find(query, "/sys/firmware/dmi/entries"),
};

/// Searches the firmware's tables below `entries`, in the kernel's format (CONFIG_DMI_SYSFS,
/// drivers/firmware/dmi-sysfs.c).
fn find(query: &Query<'_>, entries: &str) -> Result<SourceResult> {
    let nothing = || {
        Ok(SourceResult::Nothing(
            "no OEM string of the firmware contains firstboot.node= or ds=nocloud;s=".to_owned(),
        ))
    };
    let Ok(folder) = fs::read_dir(entries) else {
        return nothing();
    };
    // The folders are named `11-0`, `11-1` and so on, from the type and the instance.
    let mut tables: Vec<_> = folder
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_strings(path))
        .collect();
    tables.sort();
    for table in tables {
        let raw = table.join("raw");
        let bytes = files::read_bounded(&raw, LIMIT)
            .context("cannot read the OEM strings of the firmware")?;
        if let Some(origin) = strings(&bytes).find_map(|string| location::named(&string)) {
            return location::get(&origin, "an OEM string of the firmware", query);
        }
    }
    nothing()
}

fn is_strings(table: &Path) -> bool {
    table
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("11-"))
}

/// Returns the strings that follow a structure. The second byte of the structure contains the
/// structure's length. Each string ends with a zero byte, and so does the list of strings (DMTF
/// DSP0134, 6.1.3).
fn strings(table: &[u8]) -> impl Iterator<Item = String> {
    let length = table.get(1).copied().unwrap_or_default();
    let behind = table.get(length.into()..).unwrap_or_default();
    let each = behind
        .split(|byte| *byte == 0)
        .take_while(|string| !string.is_empty());
    each.map(|string| String::from_utf8_lossy(string).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metadata::tests::with_query;

    fn table(strings: &[&str]) -> Vec<u8> {
        // The bytes of the structure are the type, the length, the handle and the count.
        let mut table = vec![11, 5, 0, 0x0e, u8::try_from(strings.len()).unwrap()];
        for string in strings {
            table.extend_from_slice(string.as_bytes());
            table.push(0);
        }
        table.push(0);
        table
    }

    #[test]
    fn the_string_that_names_a_location_is_found_among_others() {
        let folder = tempfile::tempdir().unwrap();
        let document = folder.path().join("node.json");
        fs::write(&document, "no document").unwrap();
        let put = |name: &str, strings: &[&str]| {
            fs::create_dir_all(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("raw"), table(strings)).unwrap();
        };
        let find = |entries: &str| with_query(|query| super::find(query, entries));
        let find_here = || find(&folder.path().to_string_lossy());
        put("1-0", &["firstboot.node=/nowhere"]);
        put("11-0", &["io.systemd.credential:a=b", "vendor"]);
        assert!(matches!(find_here().unwrap(), SourceResult::Nothing(_)));
        put(
            "11-1",
            &["x", &format!("firstboot.node={}", document.display())],
        );
        let error = format!("{:#}", find_here().unwrap_err());
        assert!(
            error.contains("node.json is not a node document"),
            "{error}"
        );
        assert!(
            matches!(find("/nowhere").unwrap(), SourceResult::Nothing(_)),
            "a machine without such tables"
        );
    }

    proptest! {
        #[test]
        fn no_table_causes_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            assert!(strings(&bytes).count() <= bytes.len());
        }

        #[test]
        fn all_strings_of_a_table_are_returned(texts in prop::collection::vec("[ -~]{1,40}", 0..9)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            assert_eq!(strings(&table(&texts)).collect::<Vec<_>>(), texts);
        }
    }
}
