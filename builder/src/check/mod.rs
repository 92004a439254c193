//! `builder check` shows how CentOS 7.9 will read a file, before the file is on a node.
//!
//! For each program of CentOS 7.9, one module checks the files that the program reads. The module's
//! function `check` is pure, and returns the findings for the text of a file. The folder `known`
//! contains the tables of the words that CentOS 7.9 supports.

mod checker;
mod chrony;
mod command;
mod enabling;
mod file;
mod finding;
mod firewalld;
mod fstab;
mod image;
mod kickstart;
mod masked;
mod origin;
mod place;
mod preset;
mod python;
mod report;
mod rules;
mod sarif;
mod script;
mod sysctl;
mod systemd;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod tmpfiles;
mod unit;
#[cfg(test)]
mod verdicts;

pub(crate) use command::{Options, run};
pub(crate) use image::{CheckedRecipe, checked_recipe};
