//! One function a behaviour. Each takes a fresh [`Case`](super::Case), and breaks off with what
//! happened instead, or with the reason why it does not apply.

pub mod actions;
pub mod cancel;
pub mod deprovision;
pub mod find;
pub mod launch;
pub mod relaunch;
pub mod status;
pub mod tasks;
pub mod text;
