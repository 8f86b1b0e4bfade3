//! What the tests of Trialog share: the tidy rules, what committed texts must say, brokers and clients as processes, and the crash file system.
//!
//! Nothing here is deployed. Under `--cfg madsim` only the pure rooms exist.

#[cfg(not(madsim))]
pub mod bench;
#[cfg(not(madsim))]
pub mod broker;
#[cfg(not(madsim))]
pub mod client;
#[cfg(not(madsim))]
pub mod codec;
#[cfg(not(madsim))]
pub mod crashfs;
#[cfg(not(madsim))]
pub mod differential;
#[cfg(not(madsim))]
pub mod fill;
pub mod fresh;
#[cfg(not(madsim))]
pub mod golden;
#[cfg(not(madsim))]
pub mod load;
pub mod tidy;
