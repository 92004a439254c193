//! Determines this machine's platform from the kernel command line, the recipe or the firmware.
//! firstboot queries a metadata service only on the service's own platform, because on other
//! platforms, any host on the network could answer at the service's address.

use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use recipes::cluster::Platform;

/// The `chassis_asset_tag` of every machine on Azure.
const AZURE: &str = "7783-7084-3265-9085-8269-3286-77";

/// The values of `chassis_asset_tag` that identify OpenStack. In `product_name`, only the first two
/// values identify OpenStack. Nova and clouds that are built on Nova set these values.
const OPENSTACK: [&str; 6] = [
    "OpenStack Nova",
    "OpenStack Compute",
    "HUAWEICLOUD",
    "OpenTelekomCloud",
    "SAP CCloud VM",
    "Samsung Cloud Platform",
];

/// The name of the parameter on the kernel command line.
const WORD: &str = "firstboot.platform=";

/// The platforms on which this machine runs. Each platform has a text that names the evidence. A
/// machine can run on two platforms, because a VMware machine can also belong to OpenStack.
#[derive(Debug, Default)]
pub(super) struct Platforms(Vec<(Platform, String)>);

impl Platforms {
    /// Reads the kernel command line and the firmware's fields below `root`.
    pub(super) fn observe(root: &Path, recipe: Option<Platform>) -> Result<Self> {
        let line = fs::read(root.join("proc/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if let Some(name) = line
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(WORD))
        {
            let wrong = |expected| {
                anyhow!("`{WORD}{name}` on the kernel's command line is not valid: {expected}")
            };
            let platform = name.parse().map_err(wrong)?;
            return Ok(Self(vec![(
                platform,
                format!("{WORD}{name} on the kernel's command line"),
            )]));
        }
        if let Some(platform) = recipe {
            return Ok(Self(vec![(
                platform,
                format!(
                    "`platform = \"{}\"` in the recipe's [metadata]",
                    platform.name()
                ),
            )]));
        }
        let firmware = Firmware::read(root);
        let named = |platform| Some((platform, firmware.names(platform)?));
        Ok(Self(Platform::ALL.into_iter().filter_map(named).collect()))
    }

    /// Returns why firstboot does not query a platform's service, or `None` if this machine runs on
    /// that platform.
    pub(super) fn why_not(&self, platform: Platform) -> Option<String> {
        if self.why(platform).is_some() {
            return None;
        }
        let others: Vec<&str> = self.0.iter().map(|(_, why)| why.as_str()).collect();
        Some(if others.is_empty() {
            format!(
                "neither the firmware, the recipe nor the kernel's command line names {}",
                platform.name()
            )
        } else {
            format!("this is a different platform: {}", others.join(", "))
        })
    }

    /// Returns the evidence that this machine runs on a platform.
    pub(super) fn why(&self, platform: Platform) -> Option<&str> {
        self.0
            .iter()
            .find(|(named, _)| *named == platform)
            .map(|(_, why)| why.as_str())
    }
}

/// The fields of SMBIOS and Xen that name a platform.
#[derive(Debug, Default)]
struct Firmware {
    sys_vendor: String,
    product_name: String,
    product_serial: String,
    product_uuid: String,
    chassis_asset_tag: String,
    hypervisor_uuid: String,
}

impl Firmware {
    fn read(root: &Path) -> Self {
        let text = |path: &str| {
            let bytes = fs::read(root.join(path)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).trim().to_owned()
        };
        let dmi = |field: &str| text(&format!("sys/class/dmi/id/{field}"));
        Self {
            sys_vendor: dmi("sys_vendor"),
            product_name: dmi("product_name"),
            product_serial: dmi("product_serial"),
            product_uuid: dmi("product_uuid"),
            chassis_asset_tag: dmi("chassis_asset_tag"),
            hypervisor_uuid: text("sys/hypervisor/uuid"),
        }
    }

    /// Returns the field and value that identify a platform, or `None` if no field identifies the
    /// platform.
    fn names(&self, platform: Platform) -> Option<String> {
        let is = |field: &str, value: &str, yes: bool| yes.then(|| format!("{field} is {value}"));
        let (vendor, product, tag) = (
            &self.sys_vendor,
            &self.product_name,
            &self.chassis_asset_tag,
        );
        match platform {
            Platform::Openstack => is(
                "product_name",
                product,
                OPENSTACK[..2].contains(&product.as_str()),
            )
            .or_else(|| is("chassis_asset_tag", tag, OPENSTACK.contains(&tag.as_str()))),
            Platform::Ec2 => is("sys_vendor", vendor, vendor == "Amazon EC2")
                .or_else(|| {
                    is(
                        "/sys/hypervisor/uuid",
                        &self.hypervisor_uuid,
                        is_ec2(&self.hypervisor_uuid),
                    )
                })
                // One random UUID in 4096 starts with `ec2`. On EC2, the serial number also equals
                // the UUID, so check both properties.
                .or_else(|| {
                    let both = self.product_uuid.eq_ignore_ascii_case(&self.product_serial);
                    is(
                        "product_uuid",
                        &self.product_uuid,
                        both && is_ec2(&self.product_uuid),
                    )
                }),
            Platform::Gce => is("product_name", product, product == "Google Compute Engine")
                .or_else(|| {
                    is(
                        "product_serial",
                        &self.product_serial,
                        self.product_serial.starts_with("GoogleCloud-"),
                    )
                }),
            Platform::Azure => is("chassis_asset_tag", tag, tag == AZURE),
            Platform::Vmware => is(
                "product_name",
                product,
                product.to_ascii_lowercase().contains("vmware"),
            ),
        }
    }
}

/// Returns whether a UUID starts with `ec2` in either byte order of SMBIOS, as EC2's UUIDs do.
fn is_ec2(uuid: &str) -> bool {
    let uuid = uuid.to_ascii_lowercase();
    // In `45e12aec-…`, the bytes of the first group are in reverse order.
    let swapped = || Some(uuid.get(6..8)? == "ec" && uuid.get(4..5)? == "2");
    uuid.starts_with("ec2") || swapped().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn on(files: &[(&str, &str)]) -> Vec<Platform> {
        let platforms = Platforms::observe(machine(files).path(), None).unwrap();
        platforms
            .0
            .into_iter()
            .map(|(platform, _)| platform)
            .collect()
    }

    const UUID: &str = "ec2e1916-9099-7caf-fd21-012345abcdef";

    /// A file with a field of the firmware, and its content.
    type FirmwareFile = (&'static str, &'static str);

    /// Examples of firmware fields, and the platforms that they identify.
    const FIRMWARES: &[(&[FirmwareFile], &[Platform])] = &[
        (
            &[("sys/class/dmi/id/product_name", "OpenStack Nova\n")],
            &[Platform::Openstack],
        ),
        (
            &[("sys/class/dmi/id/chassis_asset_tag", "OpenTelekomCloud\n")],
            &[Platform::Openstack],
        ),
        (
            &[("sys/class/dmi/id/sys_vendor", "Amazon EC2\n")],
            &[Platform::Ec2],
        ),
        (
            &[(
                "sys/hypervisor/uuid",
                "ec2a41b5-7f6f-4d0b-8c2a-0c8c22f0b5a1\n",
            )],
            &[Platform::Ec2],
        ),
        (&[("sys/class/dmi/id/product_uuid", UUID)], &[]),
        (
            &[
                ("sys/class/dmi/id/product_uuid", UUID),
                (
                    "sys/class/dmi/id/product_serial",
                    "EC2E1916-9099-7CAF-FD21-012345ABCDEF",
                ),
            ],
            &[Platform::Ec2],
        ),
        (
            &[("sys/class/dmi/id/product_name", "Google Compute Engine\n")],
            &[Platform::Gce],
        ),
        (
            &[("sys/class/dmi/id/product_serial", "GoogleCloud-0123\n")],
            &[Platform::Gce],
        ),
        (
            &[("sys/class/dmi/id/chassis_asset_tag", AZURE)],
            &[Platform::Azure],
        ),
        (
            &[("sys/class/dmi/id/product_name", "VMware Virtual Platform\n")],
            &[Platform::Vmware],
        ),
        (
            &[
                ("sys/class/dmi/id/product_name", "VMware7,1\n"),
                ("sys/class/dmi/id/chassis_asset_tag", "SAP CCloud VM\n"),
            ],
            &[Platform::Openstack, Platform::Vmware],
        ),
        // This field contains a cloud's name, but is not evidence for the platform.
        (&[("sys/class/dmi/id/product_name", "HUAWEICLOUD\n")], &[]),
        (
            &[(
                "sys/class/dmi/id/product_name",
                "Standard PC (Q35 + ICH9, 2009)\n",
            )],
            &[],
        ),
        (&[], &[]),
    ];

    #[test]
    fn the_firmware_names_the_platform() {
        for (files, platforms) in FIRMWARES {
            assert_eq!(on(files), *platforms, "{files:?}");
        }
        assert!(is_ec2("45E12AEC-DCD1-B213-94ED-012345ABCDEF") && !is_ec2("45e12afc-dcd1"));
    }

    #[test]
    fn the_command_line_and_the_recipe_take_precedence_over_the_firmware() {
        let files = [
            ("sys/class/dmi/id/sys_vendor", "Amazon EC2"),
            ("proc/cmdline", "ro firstboot.platform=gce quiet\n"),
        ];
        let line = Platforms::observe(machine(&files).path(), Some(Platform::Azure)).unwrap();
        assert_eq!(
            line.why(Platform::Gce).unwrap(),
            "firstboot.platform=gce on the kernel's command line"
        );
        assert_eq!(line.why_not(Platform::Gce), None);
        let why = line.why_not(Platform::Ec2).unwrap();
        assert_eq!(
            why,
            "this is a different platform: firstboot.platform=gce on the kernel's command line"
        );
        let recipe =
            Platforms::observe(machine(&files[..1]).path(), Some(Platform::Azure)).unwrap();
        assert!(
            recipe.why(Platform::Azure).unwrap().contains("recipe")
                && recipe.why(Platform::Ec2).is_none()
        );
        let none = Platforms::observe(machine(&[]).path(), None)
            .unwrap()
            .why_not(Platform::Gce)
            .unwrap();
        assert!(none.contains("names gce"), "{none}");
        let wrong = machine(&[("proc/cmdline", "firstboot.platform=aws")]);
        let error = Platforms::observe(wrong.path(), None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`firstboot.platform=aws`")
                && error.contains("expected one of: openstack"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn no_uuid_causes_a_panic(uuid in "\\PC{0,40}") {
            let _ = is_ec2(&uuid);
        }
    }
}
