//! Turns the schemas of `schema/` into the types of `wire`: parse, check, emit. Standard library only.

// A build script runs on the developer's machine: the bans of the room are not for it.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Appends formatted lines to a `String`; writing to one cannot fail.
macro_rules! line {
    ($out:expr, $($format:tt)*) => { writeln!($out, $($format)*).expect("a string grows") };
}

#[path = "build/emit.rs"]
mod emit;
#[path = "build/model.rs"]
mod model;
#[path = "build/parse.rs"]
mod parse;
#[path = "build/tables.rs"]
mod tables;

fn main() {
    let schema =
        PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("schema");
    println!("cargo::rerun-if-changed={}", schema.display());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");

    let mut messages = Vec::new();
    for directory in ["messages", "records"] {
        for path in sorted_files(&schema.join(directory)) {
            messages.extend(parse::messages(&path, &read(&path)));
        }
    }
    let errors_path = schema.join("errors.txt");
    let errors = parse::errors(&errors_path, &read(&errors_path));
    model::check(&messages);

    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    write(&out.join("messages.rs"), &emit::messages(&messages));
    write(&out.join("apis.rs"), &tables::apis(&messages));
    write(&out.join("errors.rs"), &tables::errors(&errors));
    write(&out.join("records.rs"), &tables::record_families(&messages));
}

fn sorted_files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a directory entry").path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
