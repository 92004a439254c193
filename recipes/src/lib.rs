//! The description of a cluster: the types that the builder and firstboot share, and the parser of
//! recipes. This crate does no I/O.

pub mod backup;
pub mod cluster;
pub mod diagnostic;
pub mod digest;
pub mod envelope;
pub mod image_file_list;
pub mod image_release;
pub mod install_stage;
pub mod machine;
pub mod name;
pub mod node;
pub mod pem;
mod program;
mod reader;
pub mod recipe;
pub mod recipient;
pub mod reinstallation;
pub mod schedule;
pub mod store_keys;
pub mod unit;
pub mod update;
pub mod upgrade;
pub mod version;
pub mod window;

pub use backup::Backup;
pub use cluster::{ClusterDocument, ETCD_ID, InstallData};
pub use diagnostic::{Diagnostic, Severity};
pub use digest::Sha256;
pub use envelope::{Envelope, EnvelopeError, PublicKey, SigningKey};
pub use image_file_list::{ImageFile, ImageFileList};
pub use image_release::{ImageBase, ReleaseDocument, ReleasedFile};
pub use install_stage::InstallStage;
pub use machine::{FirmwareId, Mac, MachineMatch};
pub use name::{Domain, Label};
pub use node::{NodeDocument, NodeIdentity};
pub use program::program_version;
pub use recipe::Recipe;
pub use recipient::Recipient;
pub use schedule::Schedule;
pub use store_keys::StoreKeys;
pub use update::{Update, UpdateMode};
pub use version::EtcdVersion;
pub use window::Window;
